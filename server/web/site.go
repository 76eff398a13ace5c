package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed static
var staticFiles embed.FS

const (
	assetPrefix = "/assets/"

	// versionLen is the length of the version in an asset's path, in hex digits: 64 bits of SHA-256 over all assets.
	versionLen = 16

	// cacheRevalidate lets a browser keep a copy and makes it ask, by ETag, before each use.
	cacheRevalidate = "no-cache"

	// cacheForever is for paths whose content can never change, because the path carries the content's hash.
	cacheForever = "public, max-age=31536000, immutable"
)

// contentTypes is the whole list of what may stand under static/. mime.TypeByExtension is not used: its answer depends
// on the files of the machine it runs on.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".ico":  "image/x-icon",
	".js":   "text/javascript; charset=utf-8",
	".png":  "image/png",
	".svg":  "image/svg+xml; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

// site is every document by path. Immutable after newSite.
type site struct {
	root       map[string]*document // by full path: pages and well-known files
	assets     map[string]*document // by name below /assets/
	version    string               // hash over all assets, the folder they are referred to by
	assetCache string               // Cache-Control of an asset under its plain name
	notFound   *document
	notAllowed *document
}

// pageData is what the HTML templates may refer to.
type pageData struct {
	Config
	Assets  string   // path of the versioned asset folder, without a slash at the end
	Modules []string // names of the page's ES modules, for modulepreload: without it they load one import level at a time
}

func newSite(cfg Config) *site {
	s := &site{
		root:       make(map[string]*document),
		assets:     make(map[string]*document),
		assetCache: fmt.Sprintf("public, max-age=%d", int(cfg.AssetMaxAge/time.Second)),
		notAllowed: newDocument(contentTypes[".txt"], []byte("405: only GET and HEAD here\n")),
	}
	data := pageData{Config: cfg}
	sum := sha256.New()
	for _, name := range names("static/assets") {
		body := read("static/assets/" + name)
		fmt.Fprintf(sum, "%s\x00%d\x00", name, len(body))
		sum.Write(body)
		s.assets[name] = newDocument(typeOf(name), body)
	}
	s.version = hex.EncodeToString(sum.Sum(nil))[:versionLen]
	data.Assets = assetPrefix + s.version

	data.Modules = s.modulesOf("main.js")
	s.root["/"] = render("index.html", data)
	if cfg.ChatPath != "" {
		data.Modules = s.modulesOf("rooms.js")
		s.root[cfg.ChatPath] = render("chat.html", data)
	}
	s.notFound = render("404.html", data)
	for _, name := range []string{"robots.txt", "favicon.ico", "apple-touch-icon.png"} {
		s.root["/"+name] = newDocument(typeOf(name), read("static/"+name))
	}
	return s
}

// lookup finds the document of a path and says how long a browser may keep it.
//
// An asset under a version that is not ours is served too, to be revalidated: while nodes are being replaced behind a
// balancer, a page from a new node may ask an old one for its modules, and a slightly older module is better than none.
func (s *site) lookup(urlPath string) (doc *document, cacheControl string, found bool) {
	name, isAsset := strings.CutPrefix(urlPath, assetPrefix)
	if !isAsset {
		doc, found = s.root[urlPath]
		if found && doc.contentType == contentTypes[".html"] {
			return doc, cacheRevalidate, found
		}
		return doc, s.assetCache, found
	}
	cacheControl = s.assetCache
	if folder, rest, ok := strings.Cut(name, "/"); ok && isVersion(folder) {
		name, cacheControl = rest, cacheRevalidate
		if folder == s.version {
			cacheControl = cacheForever
		}
	}
	doc, found = s.assets[name]
	return doc, cacheControl, found
}

var importLine = regexp.MustCompile(`(?m)^(?:import|export)\b[^"'\n]*["']\./([^"']+)["']`)

// modulesOf lists, in order, the module that a page starts with and all that it imports, directly or not.
func (s *site) modulesOf(name string) []string {
	list := []string{name}
	for i := 0; i < len(list); i++ {
		doc := s.assets[list[i]]
		if doc == nil {
			panic(fmt.Sprintf("web: module %s is imported and not embedded", list[i]))
		}
		for _, match := range importLine.FindAllSubmatch(doc.plain.body, -1) {
			if imported := string(match[1]); !slices.Contains(list, imported) {
				list = append(list, imported)
			}
		}
	}
	slices.Sort(list)
	return list
}

func isVersion(folder string) bool {
	_, err := hex.DecodeString(folder)
	return err == nil && len(folder) == versionLen
}

func names(dir string) []string {
	entries, err := fs.ReadDir(staticFiles, dir)
	if err != nil {
		panic(fmt.Sprintf("web: embedded folder %s: %v", dir, err))
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func read(name string) []byte {
	body, err := staticFiles.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("web: embedded file %s: %v", name, err))
	}
	return body
}

func typeOf(name string) string {
	contentType, ok := contentTypes[path.Ext(name)]
	if !ok {
		panic(fmt.Sprintf("web: embedded file %s: no content type for its extension; add it to contentTypes", name))
	}
	return contentType
}

func render(name string, data pageData) *document {
	tmpl, err := template.ParseFS(staticFiles, "static/"+name)
	if err != nil {
		panic(fmt.Sprintf("web: embedded template %s: %v", name, err))
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, data); err != nil {
		panic(fmt.Sprintf("web: embedded template %s: %v", name, err))
	}
	return newDocument(contentTypes[".html"], out.Bytes())
}
