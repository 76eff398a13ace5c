package httpapi

import (
	_ "embed"
	"net/http"
)

// openapi.json is made of openapi.yaml by a test (go test -run Document -update), so that serving needs no YAML.
var (
	//go:embed openapi.yaml
	documentYAML []byte
	//go:embed openapi.json
	documentJSON []byte
)

// serveDocument needs no key: it tells nothing of this node.
func serveDocument(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	kind, body := "application/yaml", documentYAML
	if name == "openapi.json" {
		kind, body = "application/json", documentJSON
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // net/http leaves the body out for HEAD
}
