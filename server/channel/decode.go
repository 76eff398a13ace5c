package channel

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of a configuration, against files that are wrong or hostile (aliases of aliases).
const (
	maxDepth  = 32      // nesting, aliases included; a real file has 6
	maxNodes  = 200_000 // values, aliases expanded; a real file has thousands
	maxErrors = 50      // a file that is wrong all over is not told line by line
)

// Decode reads a YAML value over the struct that into points to, strictly: an option that the struct does not have is an
// error that names the nearest right one, and so is a value of the wrong kind. What the value does not mention keeps what
// it had, so defaults are set before. field is the path of the value in the file ("channel"), for messages.
//
// It knows bool, string kinds, integers, time.Duration ("10m"), structs by their yaml tags (",inline" embeds), pointers and
// slices of these, maps with string keys, and YAML's anchors and merge keys (<<). The error joins one *FieldError for each thing wrong. Values of
// types that have a method Redacted() string are never quoted in errors. into is changed also where an error is returned.
//
// It serves every section of the configuration file, not only this package's.
func Decode(node *yaml.Node, into any, field string) error {
	d := &decoder{}
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("channel.Decode: into must be a pointer to a struct")
	}
	if node.Kind == 0 {
		return nil
	}
	d.value(node, v.Elem(), field)
	return errors.Join(d.errs...)
}

type decoder struct {
	errs  []error
	nodes int
	depth int
}

func (d *decoder) fail(n *yaml.Node, field, fix string) {
	d.add(&FieldError{Field: field, Fix: fix, Line: n.Line})
}

// failValue is fail with the value quoted, unless it is a secret.
func (d *decoder) failValue(n *yaml.Node, v reflect.Value, field, fix string) {
	e := &FieldError{Field: field, Value: quote(n.Value), Fix: fix, Line: n.Line}
	if _, secret := v.Interface().(interface{ Redacted() string }); secret {
		e.Value = ""
	}
	d.add(e)
}

func (d *decoder) add(e *FieldError) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, e)
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string) {
	d.nodes++
	d.depth++
	defer func() { d.depth-- }()
	if d.nodes > maxNodes || d.depth > maxDepth {
		if len(d.errs) == 0 || d.nodes == maxNodes+1 {
			d.fail(n, field, "the file nests too deep or repeats too much: write it out without aliases")
		}
		return
	}
	if len(d.errs) == maxErrors {
		return
	}
	switch {
	case n.Kind == yaml.DocumentNode:
		d.value(n.Content[0], v, field)
	case n.Kind == yaml.AliasNode:
		d.value(n.Alias, v, field)
	case n.Tag == "!!null": // "key:" with nothing behind it keeps the default
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), field)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, field)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, field)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, field)
	default:
		d.scalar(n, v, field)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, field, "must be a single value, not a list or a section")
		return
	}
	switch {
	case v.Type() == durationType:
		d.duration(n, v, field)
	case v.Kind() == reflect.Bool:
		switch n.Value {
		case "true", "false":
			v.SetBool(n.Value == "true")
		default:
			d.failValue(n, v, field, "must be true or false")
		}
	case v.CanInt():
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if err != nil || n.Tag == "!!str" {
			d.failValue(n, v, field, "must be a whole number, such as 100")
			return
		}
		v.SetInt(i)
	case v.CanFloat():
		f, err := strconv.ParseFloat(n.Value, v.Type().Bits())
		if err != nil || n.Tag == "!!str" {
			d.failValue(n, v, field, "must be a number, such as 0.5")
			return
		}
		v.SetFloat(f)
	case v.Kind() == reflect.String:
		v.SetString(n.Value)
	default:
		panic("channel.Decode: cannot decode into " + v.Type().String())
	}
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, field string) {
	value, err := time.ParseDuration(n.Value)
	switch {
	case err == nil:
		v.SetInt(int64(value))
	case n.Tag == "!!int" || n.Tag == "!!float":
		d.failValue(n, v, field, "has no unit: write s, m or h behind it, such as "+n.Value+"s")
	default:
		d.failValue(n, v, field, `must be a duration such as "90s", "10m" or "720h"`)
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.SequenceNode {
		fix := "must be a list: one entry per line, each with \"- \" before it"
		if n.Kind == yaml.MappingNode {
			fix = "must be a list, not a section: write \"- name: ...\" for each entry"
		}
		d.fail(n, field, fix)
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), maxNodes))
	for i, item := range n.Content {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, element, fmt.Sprintf("%s[%d]", field, i))
		if d.nodes > maxNodes {
			return
		}
		out = reflect.Append(out, element)
	}
	v.Set(out)
}

// mapping decodes into a map with string keys: names that the user chooses, such as headers.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "must be a section: one \"name: value\" per line, indented below it")
		return
	}
	out := reflect.MakeMap(v.Type())
	d.members(n, field, func(key, value *yaml.Node, merged bool) {
		name := reflect.ValueOf(key.Value).Convert(v.Type().Key())
		if out.MapIndex(name).IsValid() {
			if !merged {
				d.fail(key, field+"."+shorten(key.Value), "is there twice: keep one")
			}
			return
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, field+"."+shorten(key.Value))
		out.SetMapIndex(name, element)
	})
	v.Set(out)
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "must be a section: one \"option: value\" per line, indented below it")
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	collectFields(v, fields, &names)
	seen := map[string]bool{}
	d.members(n, field, func(key *yaml.Node, value *yaml.Node, merged bool) {
		target, known := fields[key.Value]
		switch {
		case merged && (seen[key.Value] || !known && key.Value == "name"):
			return // what the section says itself wins
		case seen[key.Value]:
			d.fail(key, field+"."+shorten(key.Value), "is there twice: keep one")
		case !known:
			d.fail(key, field+"."+shorten(key.Value), "unknown option"+didYouMean(key.Value, names))
		default:
			d.value(value, target, field+"."+key.Value)
		}
		seen[key.Value] = true
	})
}

// members calls f for each member of a mapping, its own before those it merges in (<<).
func (d *decoder) members(n *yaml.Node, field string, f func(key, value *yaml.Node, merged bool)) {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Tag == "!!merge":
			merges = append(merges, value)
		case key.Kind != yaml.ScalarNode:
			d.fail(key, field, "an option name must be a single word")
		default:
			f(key, value, false)
		}
	}
	for _, m := range merges {
		d.merge(m, field, f)
	}
}

func (d *decoder) merge(n *yaml.Node, field string, f func(key, value *yaml.Node, merged bool)) {
	d.nodes++
	d.depth++
	defer func() { d.depth-- }()
	if d.nodes > maxNodes || d.depth > maxDepth {
		d.fail(n, field, "merges nest too deep")
		return
	}
	switch n.Kind {
	case yaml.AliasNode:
		d.merge(n.Alias, field, f)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			d.merge(item, field, f)
		}
	case yaml.MappingNode:
		d.members(n, field, func(key, value *yaml.Node, _ bool) { f(key, value, true) })
	default:
		d.fail(n, field+".<<", "must be an alias of a section (*name) or a list of them")
	}
}

// collectFields gathers the settable fields of a struct by their yaml names, those of inlined structs included.
func collectFields(v reflect.Value, fields map[string]reflect.Value, names *[]string) {
	for i := range v.NumField() {
		tag, _ := v.Type().Field(i).Tag.Lookup("yaml")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case options == "inline":
			collectFields(v.Field(i), fields, names)
		case name != "" && name != "-":
			fields[name] = v.Field(i)
			*names = append(*names, name)
		}
	}
}

func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
