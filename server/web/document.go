package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
)

// minGzipSaving is what compression must save, in bytes, for a compressed form to be kept: below it the longer header
// and the browser's work cost more than the bytes.
const minGzipSaving = 64

// document is one resource in the one or two forms we can send it. Immutable after newDocument.
type document struct {
	contentType string
	plain       form
	gzipped     form // no body when compression does not pay
}

// form is one representation (RFC 9110, 8): its bytes and the strong tag that names exactly these bytes.
type form struct {
	body []byte
	etag string
}

// newDocument keeps body.
func newDocument(contentType string, body []byte) *document {
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:12])
	doc := &document{contentType: contentType, plain: form{body: body, etag: `"` + tag + `"`}}
	if small := compress(body); len(body)-len(small) >= minGzipSaving {
		doc.gzipped = form{body: small, etag: `"` + tag + `-gzip"`}
	}
	return doc
}

func compress(body []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(fmt.Sprintf("web: gzip level: %v", err))
	}
	if _, err := w.Write(body); err != nil {
		panic(fmt.Sprintf("web: gzip into memory: %v", err))
	}
	if err := w.Close(); err != nil {
		panic(fmt.Sprintf("web: gzip into memory: %v", err))
	}
	return out.Bytes()
}

// serve answers 200, or 304 when the client has these very bytes (RFC 9110, 13.1.2).
func (d *document) serve(w http.ResponseWriter, r *http.Request, cacheControl string) {
	chosen, _ := d.choose(r)
	w.Header().Set("ETag", chosen.etag)
	if tagListed(r.Header.Values("If-None-Match"), chosen.etag) {
		w.Header().Set("Cache-Control", cacheControl)
		d.setVary(w.Header())
		w.WriteHeader(http.StatusNotModified)
		return
	}
	d.write(w, r, http.StatusOK, cacheControl)
}

// write sends the document with any status. A client that went away is not our fault and leaves nothing to do.
func (d *document) write(w http.ResponseWriter, r *http.Request, status int, cacheControl string) {
	chosen, encoding := d.choose(r)
	h := w.Header()
	h.Set("Content-Type", d.contentType)
	h.Set("Content-Length", strconv.Itoa(len(chosen.body)))
	h.Set("Cache-Control", cacheControl)
	d.setVary(h)
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(chosen.body)
	}
}

// choose picks the form the client prefers and its content coding, "" for none.
func (d *document) choose(r *http.Request) (chosen form, encoding string) {
	if d.gzipped.body != nil && prefersGzip(r.Header.Values("Accept-Encoding")) {
		return d.gzipped, "gzip"
	}
	return d.plain, ""
}

// setVary tells caches that the answer depended on Accept-Encoding; also when the plain form was chosen.
func (d *document) setVary(h http.Header) {
	if d.gzipped.body != nil {
		h.Set("Vary", "Accept-Encoding")
	}
}
