package web

import (
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// elements parses a page and returns its start tags. The pages are HTML that an XML parser can read with HTML's table of
// void elements and entities, which is also a check that everything is closed.
func elements(t *testing.T, page []byte) []xml.StartElement {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(page)))
	d.Strict = false
	d.AutoClose = xml.HTMLAutoClose
	d.Entity = xml.HTMLEntity
	var list []xml.StartElement
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			list = append(list, start.Copy())
		}
	}
}

func attribute(e xml.StartElement, name string) (string, bool) {
	for _, a := range e.Attr {
		if strings.EqualFold(a.Name.Local, name) {
			return a.Value, true
		}
	}
	return "", false
}

func pages(t *testing.T) map[string][]xml.StartElement {
	t.Helper()
	return map[string][]xml.StartElement{
		"/":        elements(t, body(t, get(t, "GET", "/"))),
		"/chat":    elements(t, body(t, get(t, "GET", "/chat"))),
		"/nowhere": elements(t, body(t, get(t, "GET", "/nowhere"))),
	}
}

func TestPagesHoldNoInlineCode(t *testing.T) {
	for name, list := range pages(t) {
		if len(list) < 8 {
			t.Fatalf("%s: only %d elements found", name, len(list))
		}
		for _, e := range list {
			checkNoInlineCode(t, name, e)
		}
	}
}

func checkNoInlineCode(t *testing.T, page string, e xml.StartElement) {
	t.Helper()
	tag := strings.ToLower(e.Name.Local)
	if _, has := attribute(e, "src"); tag == "script" && !has {
		t.Errorf("%s has an inline script", page)
	}
	if tag == "style" {
		t.Errorf("%s has an inline style sheet", page)
	}
	for _, a := range e.Attr {
		attr := strings.ToLower(a.Name.Local)
		if strings.HasPrefix(attr, "on") || attr == "style" || strings.HasPrefix(a.Value, "javascript:") {
			t.Errorf("%s: <%s %s> is inline code", page, tag, attr)
		}
	}
}

// references returns what a page makes the browser fetch or offers to go to, without its own fragments.
func references(list []xml.StartElement) []string {
	var refs []string
	for _, e := range list {
		for _, attr := range []string{"src", "href", "action", "srcset", "data", "poster"} {
			if ref, has := attribute(e, attr); has && !strings.HasPrefix(ref, "#") {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

func TestEveryReferenceOfAPageIsServed(t *testing.T) {
	for name, list := range pages(t) {
		refs := references(list)
		if len(refs) == 0 {
			t.Errorf("%s refers to nothing", name)
		}
		for _, ref := range refs {
			u, err := url.Parse(ref)
			if err != nil || u.IsAbs() || u.Host != "" {
				t.Errorf("%s refers to %q, which is not ours", name, ref)
				continue
			}
			r := get(t, "GET", ref)
			if r.StatusCode != 200 {
				t.Errorf("%s refers to %s: status %d", name, ref, r.StatusCode)
			}
			if strings.HasPrefix(ref, assetPrefix) && r.Header.Get("Cache-Control") != cacheForever {
				t.Errorf("%s refers to %s, which is not the versioned path", name, ref)
			}
		}
	}
}

func TestIdsAreUniqueAndReferencesMeetThem(t *testing.T) {
	for name, list := range pages(t) {
		ids := make(map[string]int)
		var wanted []string
		for _, e := range list {
			if id, has := attribute(e, "id"); has {
				ids[id]++
			}
			for _, attr := range []string{"for", "aria-labelledby", "aria-describedby", "aria-controls"} {
				value, _ := attribute(e, attr)
				wanted = append(wanted, strings.Fields(value)...)
			}
			if href, _ := attribute(e, "href"); strings.HasPrefix(href, "#") {
				wanted = append(wanted, href[1:])
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: id %q stands %d times", name, id, n)
			}
		}
		for _, id := range wanted {
			if ids[id] == 0 {
				t.Errorf("%s: a reference to %q points nowhere", name, id)
			}
		}
	}
}

var (
	imports = regexp.MustCompile(`(?m)^(?:import|export)\b[^"'\n]*["']([^"']+)["']`)
	byID    = regexp.MustCompile(`\$\("([^"]+)"\)`)
	strange = regexp.MustCompile(`\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://|\burl\(|@import`)
)

func TestModulesImportOnlyEachOtherAndAreAllPreloaded(t *testing.T) {
	s := defaultSite()
	preloaded := make(map[string][]string) // module -> pages
	for name, list := range pages(t) {
		for _, e := range list {
			if rel, _ := attribute(e, "rel"); rel == "modulepreload" {
				href, _ := attribute(e, "href")
				preloaded[path.Base(href)] = append(preloaded[path.Base(href)], name)
			}
		}
	}
	for name, doc := range s.assets {
		if path.Ext(name) != ".js" {
			continue
		}
		if len(preloaded[name]) == 0 {
			t.Errorf("%s is not preloaded", name)
		}
		for _, match := range imports.FindAllSubmatch(doc.plain.body, -1) {
			target := string(match[1])
			module, ok := strings.CutPrefix(target, "./")
			if !ok || s.assets[module] == nil {
				t.Errorf("%s imports %q, which is not a module of ours", name, target)
			}
			for _, page := range preloaded[name] {
				if !slices.Contains(preloaded[module], page) {
					t.Errorf("%s preloads %s and not %s, which it imports", page, name, module)
				}
			}
		}
	}
}

func TestScriptsAndStylesTakeNothingFromElsewhereAndMakeNoMarkup(t *testing.T) {
	for name, doc := range defaultSite().assets {
		if ext := path.Ext(name); ext != ".js" && ext != ".css" {
			continue
		}
		if found := strange.Find(doc.plain.body); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
}

func TestEveryElementTheScriptNamesIsOnThePage(t *testing.T) {
	for page, script := range map[string]string{"/": "main.js", "/chat": "rooms.js"} {
		ids := make(map[string]bool)
		for _, e := range pages(t)[page] {
			if id, has := attribute(e, "id"); has {
				ids[id] = true
			}
		}
		matches := byID.FindAllSubmatch(defaultSite().assets[script].plain.body, -1)
		if len(matches) < 10 {
			t.Fatalf("%s: only %d elements named", script, len(matches))
		}
		for _, match := range matches {
			if !ids[string(match[1])] {
				t.Errorf("%s names #%s, which is not on the page", script, match[1])
			}
		}
	}
}
