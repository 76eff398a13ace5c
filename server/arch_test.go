package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// The style of architecture.md as a test; its tables stand in arch_table_test.go. It reads files and never
// asks go list, whose answer the test cache cannot see.

// goFile is one parsed file; dir is its directory below the repository.
type goFile struct {
	name, dir string
	test      bool
	lines     int
	ast       *ast.File
	fset      *token.FileSet
}

func (f *goFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// otherModule: a go.mod of its own below ours has rules of its own (bench/peers).
func otherModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil && dir != ".."
}

// tree parses every Go file of the repository.
func tree(t *testing.T) []*goFile {
	t.Helper()
	var files []*goFile
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && d.Name() != ".."
			if hidden || d.Name() == "testdata" || d.Name() == "node_modules" || otherModule(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f := parse(t, filepath.ToSlash(strings.TrimPrefix(name, "../")), string(raw))
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parse(t *testing.T, name, text string) *goFile {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return &goFile{
		name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: strings.Count(text, "\n"), ast: file, fset: fset,
	}
}

// finding is one break of a rule; key is what an exception would be called.
type finding struct{ key, text string }

func (f *goFile) found(at token.Pos, what, format string, args ...any) finding {
	text := fmt.Sprintf("%s:%d: ", f.name, f.line(at)) + fmt.Sprintf(format, args...)
	return finding{f.name + ": " + what, text}
}

func TestArchitectureHolds(t *testing.T) {
	files := tree(t)
	if len(files) < 20 {
		t.Fatalf("only %d files found", len(files))
	}
	var all []finding
	for _, f := range files {
		all = slices.Concat(all, importsOf(f), sizes(f), functions(f), docs(f))
	}
	all = append(all, packageComments(files)...)
	used := map[string]bool{}
	for _, broken := range all {
		used[broken.key] = true
		if exceptions[broken.key] == "" {
			t.Errorf("%s (exception %q)", broken.text, broken.key)
		}
	}
	for key, why := range exceptions {
		if !used[key] {
			t.Errorf("the exception %q (%s) is not needed any more", key, why)
		}
	}
}

// importsOf checks the import table and the names of packages.
func importsOf(f *goFile) (out []finding) {
	for part := range strings.SplitSeq(f.dir+"/"+f.ast.Name.Name, "/") {
		if slices.Contains(bannedNames, part) {
			out = append(out, f.found(f.ast.Name.Pos(), part, "the name %s says nothing", part))
		}
	}
	row, ok := rowOf(f.dir)
	if !ok {
		return append(out, f.found(f.ast.Name.Pos(), "layer", "%s has no row in the import table", f.dir))
	}
	if f.test {
		return out
	}
	for _, spec := range f.ast.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if !mayImport(row, name) {
			out = append(out, f.found(spec.Pos(), name, "%s must not import %s", f.dir, name))
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok && row.calm {
			out = append(out, f.found(g.Pos(), "go", "%s must not start goroutines", f.dir))
		}
		return true
	})
	return out
}

// rowOf finds the row of the import table for a directory: its own, or the nearest above that is not main's.
func rowOf(dir string) (layer, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if row, ok := layers[d]; ok && (d == dir || d != "server") {
			return row, true
		}
	}
	return layer{}, false
}

func mayImport(row layer, name string) bool {
	first, _, _ := strings.Cut(name, "/")
	if first != "throng" && !strings.Contains(first, ".") {
		return !slices.Contains(row.never, name)
	}
	return slices.ContainsFunc(row.may, func(allowed string) bool {
		below, wild := strings.CutSuffix(allowed, "...")
		return name == allowed || wild && strings.HasPrefix(name, below)
	})
}

func sizes(f *goFile) []finding {
	if f.lines <= maxFileLines {
		return nil
	}
	return []finding{f.found(f.ast.Name.Pos(), "lines", "%d lines, the limit is %d", f.lines, maxFileLines)}
}

// functions checks length, parameters and nesting of each function of a file.
func functions(f *goFile) (out []finding) {
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > maxFunctionLines {
			out = append(out, f.found(fn.Pos(), name, "%s has %d lines, the limit is %d", name, n, maxFunctionLines))
		}
		kinds := parameterKinds(fn.Type)
		if len(kinds) > maxParameters && !f.test {
			out = append(out, f.found(fn.Pos(), name, "%s has %d parameters, the limit is %d", name, len(kinds), maxParameters))
		}
		for i := range kinds[:max(len(kinds)-1, 0)] {
			if kinds[i] == "bool" && kinds[i+1] == "bool" {
				out = append(out, f.found(fn.Pos(), name, "%s has two bools side by side, calls would not read", name))
			}
		}
		if fn.Body == nil {
			continue
		}
		if n := nesting(fn.Body); n > deepestIn(f) {
			out = append(out, f.found(fn.Pos(), name, "%s nests %d deep, the limit is %d", name, n, deepestIn(f)))
		}
	}
	return out
}

// deepestIn allows tests two levels more: a loop over cases and one over variants are their shape.
func deepestIn(f *goFile) int {
	if f.test {
		return maxNesting + 2
	}
	return maxNesting
}

// parameterKinds names the type of each parameter, as far as it is a plain word.
func parameterKinds(fn *ast.FuncType) (kinds []string) {
	for _, field := range fn.Params.List {
		kind := ""
		if id, ok := field.Type.(*ast.Ident); ok {
			kind = id.Name
		}
		for range max(len(field.Names), 1) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// nesting counts how deep ifs, loops, switches and selects stand inside each other below n. else if does not
// go deeper, and a function literal starts anew.
func nesting(n ast.Node) int {
	deepest := 0
	var walk func(n ast.Node, depth int)
	walk = func(n ast.Node, depth int) {
		ast.Inspect(n, func(child ast.Node) bool {
			if child == n || child == nil {
				return true
			}
			switch c := child.(type) {
			case *ast.FuncLit:
				walk(c.Body, 0)
				return false
			case *ast.IfStmt:
				if parent, ok := n.(*ast.IfStmt); ok && parent.Else == c {
					walk(c, depth)
					return false
				}
			case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
			default:
				return true
			}
			deepest = max(deepest, depth+1)
			walk(child, depth+1)
			return false
		})
	}
	walk(n, 0)
	return deepest
}

// docs checks that what a package exports is explained, in words that its name does not say already.
func docs(f *goFile) (out []finding) {
	if f.test {
		return nil
	}
	check := func(id *ast.Ident, comments ...*ast.CommentGroup) {
		if !id.IsExported() {
			return
		}
		text := ""
		for _, c := range comments {
			text += c.Text()
		}
		switch {
		case text == "":
			out = append(out, f.found(id.Pos(), id.Name, "%s has no doc comment", id.Name))
		case hollow(id.Name, text):
			out = append(out, f.found(id.Pos(), id.Name, "the doc comment of %s says no more than its name", id.Name))
		}
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if receiverExported(d) && !slices.Contains(selfEvident, d.Name.Name) {
				check(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				f.docsOfSpec(s, d.Doc, check)
			}
		}
	}
	return out
}

// checkDoc judges the comments that may stand at one identifier.
type checkDoc func(id *ast.Ident, comments ...*ast.CommentGroup)

// docsOfSpec checks one type, or the names of one line of constants or variables, for which the comment of
// the whole group is enough.
func (f *goFile) docsOfSpec(s ast.Spec, group *ast.CommentGroup, check checkDoc) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		check(s.Name, group, s.Doc, s.Comment)
		fields, ok := s.Type.(*ast.StructType)
		// In package main the option table explains the settings, and a test holds it to that.
		if ok && strings.HasSuffix(s.Name.Name, "Config") && f.ast.Name.Name != "main" {
			f.docsOfConfig(fields, check)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			check(name, group, s.Doc, s.Comment)
		}
	}
}

// docsOfConfig wants a reason at each setting; a comment covers the fields right below it too, up to a
// field with one of its own or an empty line.
func (f *goFile) docsOfConfig(s *ast.StructType, check checkDoc) {
	var above *ast.CommentGroup
	end := 0
	for _, field := range s.Fields.List {
		if field.Doc != nil {
			above = field.Doc
		} else if f.line(field.Pos()) > end+1 {
			above = nil
		}
		for _, name := range field.Names {
			if kind, ok := field.Type.(*ast.Ident); !ok || kind.Name != name.Name { // else its type says it
				check(name, above, field.Comment)
			}
		}
		end = f.line(field.End())
	}
}

func receiverExported(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	kind := fn.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if generic, ok := kind.(*ast.IndexExpr); ok {
		kind = generic.X
	}
	id, ok := kind.(*ast.Ident)
	return ok && id.IsExported()
}

// hollow reports whether a doc comment has no word beyond the identifier's own and fillers.
func hollow(name, doc string) bool {
	known := map[string]bool{}
	for _, w := range append(words(name), strings.ToLower(name)) {
		known[w], known[w+"s"] = true, true
	}
	for _, w := range words(doc) {
		if !known[w] && !slices.Contains(fillers, w) {
			return false
		}
	}
	return true
}

// words splits text, identifiers included, into lower-case words.
func words(text string) (out []string) {
	word := ""
	flush := func() {
		if word != "" {
			out = append(out, strings.ToLower(word))
		}
		word = ""
	}
	before := ' '
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) || unicode.IsUpper(r) && unicode.IsLower(before) {
			flush()
		}
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			word += string(r)
		}
		before = r
	}
	flush()
	return out
}

// packageComments wants each package to say its duty once.
func packageComments(files []*goFile) (out []finding) {
	first := map[string]*goFile{}
	count := map[string]int{}
	for _, f := range files {
		if f.test {
			continue
		}
		if first[f.dir] == nil {
			first[f.dir] = f
		}
		if f.ast.Doc != nil {
			count[f.dir]++
		}
	}
	for dir, f := range first {
		if count[dir] != 1 {
			out = append(out, finding{dir + ": package comment", fmt.Sprintf("%s has %d package comments (%s), want 1", dir, count[dir], f.name)})
		}
	}
	return out
}

// The rules themselves, tried on small files.
func TestArchitectureRulesFindWhatTheyAreFor(t *testing.T) {
	long := "package hub\nfunc f() {\n" + strings.Repeat("\tprintln()\n", maxFunctionLines) + "}\n"
	for _, c := range []struct{ name, text, want string }{
		{"server/hub/a.go", "package hub\nimport \"net\"\n", "must not import net"},
		{"server/hub/a.go", "package hub\nimport \"throng/server/ws\"\n", "must not import throng/server/ws"},
		{"server/hub/a.go", "package hub\nimport \"throng/server/wire\"\n", ""},
		{"server/hub/a_test.go", "package hub\nimport \"net\"\n", ""},
		{"server/ws/a.go", "package ws\nimport \"github.com/lesismal/nbio/nbhttp\"\n", "must not import github.com/lesismal/nbio/nbhttp"},
		{"broker/a.go", "package broker\nimport \"throng/server/hub\"\n", "must not import throng/server/hub"},
		{"bench/a/b.go", "package a\nimport \"throng/server/hub\"\n", "must not import throng/server/hub"},
		{"bench/a/b.go", "package a\nimport \"throng/server/wire\"\n", ""},
		{"server/new/a.go", "package new\n", "has no row in the import table"},
		{"server/hub/util/a.go", "package x\n", "says nothing"},
		{"server/wire/a.go", "package wire\nfunc f() { go f() }\n", "must not start goroutines"},
		{"server/hub/a.go", long, "f has 72 lines"},
		{"server/hub/a.go", strings.Repeat("// x\n", maxFileLines) + "package hub\n", "501 lines"},
		{"server/hub/a.go", "package hub\nfunc f(a, b, c, d, e, f int) {}\n", "f has 6 parameters"},
		{"server/hub/a.go", "package hub\nfunc f(a int, b bool, c bool) {}\n", "two bools side by side"},
		{"server/hub/a.go", "package hub\nfunc f(a, b bool) {}\n", "two bools side by side"},
		{"server/hub/a.go", "package hub\nfunc f(a bool, n int, b bool) {}\n", ""},
		{"server/hub/a.go", "package hub\nfunc f() { for { if true { switch { case true: if true {} } } } }\n", "nests 4 deep"},
		{"server/hub/a.go", "package hub\nfunc f() { for { if true { switch { case true: func() { if true {} }() } } } }\n", ""},
		{"server/hub/a.go", "package hub\nfunc f() { for { if true {} else if true {} else if true { for {} } } }\n", ""},
		{"server/hub/a.go", "package hub\nfunc F() {}\n", "F has no doc comment"},
		{"server/hub/a.go", "package hub\n// NewHub returns a new hub.\nfunc NewHub() {}\n", "says no more than its name"},
		{"server/hub/a.go", "package hub\n// NewHub starts no goroutine.\nfunc NewHub() {}\n", ""},
		{"server/hub/a.go", "package hub\ntype x int\nfunc (x) F() {}\n", ""},
		{"server/hub/a.go", "package hub\n// X counts bytes.\ntype X int\nfunc (*X) F() {}\n", "F has no doc comment"},
		{"server/hub/a.go", "package hub\n// Reasons of losses.\nconst (\n\tA = 1\n\tB = 2\n)\n", ""},
		{"server/hub/a.go", "package hub\nconst (\n\tA = 1 // lost on the way\n\tB = 2\n)\n", "B has no doc comment"},
		{"server/hub/a.go", "package hub\n// Config bounds memory.\ntype Config struct {\n\tSize int // bytes, 64 KiB\n\n\tLen int\n}\n", "Len has no doc comment"},
	} {
		f := parse(t, c.name, c.text)
		all := slices.Concat(importsOf(f), sizes(f), functions(f), docs(f))
		got := ""
		for _, broken := range all {
			got += broken.text + "\n"
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%.60q\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}
