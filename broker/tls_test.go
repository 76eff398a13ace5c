package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"throng/broker"
)

// selfSigned writes a certificate for 127.0.0.1 and its key, and returns who trusts it.
func selfSigned(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string][]byte{
		cert: certPEM,
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

func TestTheLinkCanBeTLSAndIsVerified(t *testing.T) {
	cert, key, pool := selfSigned(t)
	conf := writeConf(t, fmt.Sprintf("listen: \"127.0.0.1:-1\"\ntls { cert_file: %q, key_file: %q }", cert, key))
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", ConfigFile: conf, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	url := []string{"tls://" + e.Addr().String()}
	got := make(chan broker.Message, 1)
	n := connect(t, broker.Config{URLs: url, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, func(m broker.Message) { got <- m })
	if err := n.Ready(); err != nil {
		t.Fatal(err)
	}
	n.Subscribe("c")
	data := strings.Repeat("x", 100_000)
	if err := n.Publish("c", []byte(data), false); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, got); string(m.Data) != data {
		t.Errorf("%d bytes arrived", len(m.Data))
	}
	stranger := connect(t, broker.Config{URLs: url}, func(broker.Message) {})
	eventually(t, "the certificate is refused", stranger, func() bool {
		err := stranger.Ready()
		return err != nil && strings.Contains(err.Error(), "certificate")
	})
	// The node's own in-process link needs no TLS, whatever its server asks of others.
	own := connect(t, broker.Config{Server: e}, func(broker.Message) {})
	if err := own.Ready(); err != nil {
		t.Errorf("in-process link: %v", err)
	}
}
