package wire

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

func TestEncodingGivesTheBytesOfTheVectors(t *testing.T) {
	for _, v := range vectors {
		if v.frames == nil {
			continue
		}
		if got, want := v.encode(t), unhexed(t, v.hex); !bytes.Equal(got, want) {
			t.Errorf("%s (RFC 6455, %s): got %x, want %x", v.meaning, v.rfc, head(got), head(want))
		}
	}
}

func TestParsingHeadersGivesTheFramesOfTheVectors(t *testing.T) {
	for _, v := range vectors {
		if v.frames == nil {
			continue
		}
		p := unhexed(t, v.hex)
		rules := headerRules{maxFrame: 1 << 20, room: 1 << 20, masked: v.from == client}
		for i, f := range v.frames {
			rules.inMessage = f.op == OpContinuation || i > 0 && !v.frames[i-1].fin
			h, n, err := rules.parse(p)
			if err != nil || n == 0 {
				t.Fatalf("%s, frame %d: n %d, err %v", v.meaning, i, n, err)
			}
			body := append([]byte(nil), p[n:n+h.length]...)
			ws.Cipher(body, h.key, 0)
			if h.op != f.op || h.fin != f.fin || string(body) != f.payload {
				t.Errorf("%s, frame %d: got %v fin %v %q", v.meaning, i, h.op, h.fin, head(body))
			}
			for cut := range n {
				if _, short, err := rules.parse(p[:cut]); short != 0 || err != nil {
					t.Errorf("%s: %d of %d header bytes gave n %d, err %v", v.meaning, cut, n, short, err)
				}
			}
			p = p[n+h.length:]
		}
		if len(p) != 0 {
			t.Errorf("%s: %d bytes left", v.meaning, len(p))
		}
	}
}

func TestHeadersAgreeWithGobwas(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 24} {
		var want bytes.Buffer
		h := ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(n)}
		if err := ws.WriteHeader(&want, h); err != nil {
			t.Fatal(err)
		}
		if got := AppendFrameHeader(nil, OpBinary, n); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("length %d: got %x, want %x", n, got, want.Bytes())
		}
	}
}

// Masking is borrowed from gobwas/ws, which does it in assembly: it is held
// against the definition (RFC 6455, 5.3) for every alignment and offset.
func TestMaskingIsTheDefinition(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	room := make([]byte, 600)
	for start := range 9 {
		for n := range 300 {
			for offset := range 5 {
				p := room[start : start+n]
				for i := range room {
					room[i] = byte(i * 7)
				}
				ws.Cipher(p, key, offset)
				for i := range room {
					want := byte(i * 7)
					if i >= start && i < start+n {
						want ^= key[(i-start+offset)%4]
					}
					if room[i] != want {
						t.Fatalf("start %d, len %d, offset %d: byte %d", start, n, offset, i)
					}
				}
			}
		}
	}
}

func TestOpcodeNamesAreAClosedSet(t *testing.T) {
	seen := map[string]bool{}
	for op := range Opcode(16) {
		seen[op.String()] = true
	}
	if len(seen) != 7 {
		t.Errorf("got %d names for 16 opcodes, want 6 and \"reserved\": %v", len(seen), seen)
	}
}

// head keeps failure output readable.
func head(p []byte) []byte { return p[:min(len(p), 40)] }
