package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxConfigFile bounds the file; every option spelled out with a comment is a tenth of it.
const maxConfigFile = 1 << 20

// fileOrigins reads the YAML file that named points to, if any. The file is one flat mapping of option
// names; unknown and repeated keys are errors, and every error carries its line. Scalars are taken by
// their text, so YAML's own idea of what a bare no, 0x10 or 1_000 means never gets in the way.
// Sections, which are mappings of their own, are decoded into c right away: no flag can override them.
func (c *Config) fileOrigins(table []option, named origin) (map[string][]origin, error) {
	if named.text == "" {
		return nil, nil
	}
	wrong := func(problem, fix string) error {
		return &configError{named.field, named.text, problem, fix}
	}
	if bad := readableFile(named.text); bad != nil {
		return nil, wrong(bad.problem, bad.fix)
	}
	raw, err := os.ReadFile(named.text)
	if err != nil {
		return nil, wrong("cannot be read: "+err.Error(), "name a YAML file")
	}
	if len(raw) > maxConfigFile {
		return nil, wrong("is larger than 1MiB", "name a YAML file of settings")
	}
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF): // empty, or comments only
		return nil, nil
	case err != nil:
		return nil, wrong("is not YAML: "+strings.TrimPrefix(err.Error(), "yaml: "), "see throng -h for the names, one \"name: value\" per line")
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, wrong("holds more than one document", "drop the --- between them")
	}
	return c.fileKeys(table, named.text, doc.Content[0])
}

// fileKeys walks the pairs of the top mapping.
func (c *Config) fileKeys(table []option, path string, top *yaml.Node) (map[string][]origin, error) {
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, &configError{fmt.Sprintf("%s:%d", path, top.Line), "", "is not a list of settings", "write one \"name: value\" per line"}
	}
	got := map[string][]origin{}
	lines := map[string]int{}
	var errs []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		field := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		if into, is := c.section(key.Value); is {
			c.given[key.Value] = true
			errs = append(errs, decodeSection(node, into, path, key.Value))
			continue
		}
		at := slices.IndexFunc(table, func(o option) bool { return o.name == key.Value && o.where == anywhere })
		if at < 0 {
			errs = append(errs, unknownKey(table, field, key.Value))
			continue
		}
		if first, twice := lines[key.Value]; twice {
			errs = append(errs, &configError{field, "", fmt.Sprintf("is already set in line %d", first), "keep one of the two"})
			continue
		}
		lines[key.Value] = key.Line
		texts, bad := nodeTexts(node, table[at].list())
		if bad != nil {
			errs = append(errs, &configError{field, "", bad.problem, bad.fix})
			continue
		}
		for _, text := range texts {
			got[key.Value] = append(got[key.Value], origin{field, text})
		}
	}
	return got, errors.Join(errs...)
}

func unknownKey(table []option, field, name string) error {
	for _, o := range table {
		if o.name == name {
			return &configError{field, "", "cannot be set in a file", "give --" + name}
		}
	}
	return &configError{field, "", "unknown key", suggest(name, table, "", "see throng -h for the names")}
}

// nodeTexts returns the text of a scalar, the texts of a list where one is allowed, and nothing for null.
func nodeTexts(node *yaml.Node, list bool) ([]string, *misfit) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil, nil
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode || !list:
		return nil, &misfit{"is not a single value", "write name: value"}
	}
	texts := []string{""} // an empty list is a value: it empties what a weaker source gave
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, &misfit{"has an entry that is no single value", "write a list of plain values"}
		}
		texts = append(texts, item.Value)
	}
	return texts, nil
}

// suggest names the option closest to name, spelled with prefix, if one is close enough to be meant.
func suggest(name string, table []option, prefix, otherwise string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	best, bestDistance := "", max(2, len(name)/3)+1
	for _, o := range table {
		if d := editDistance(name, o.name); d < bestDistance {
			best, bestDistance = o.name, d
		}
	}
	if best == "" {
		return otherwise
	}
	return "did you mean " + prefix + best + "?"
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours between a and b
// (optimal string alignment).
func editDistance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
