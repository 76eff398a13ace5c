package wire

import (
	"slices"
	"strings"
)

// Bounds of one filter, so that a subscription cannot buy much memory, nor a publication's way through it much time: far above
// what anybody writes by hand.
const (
	MaxFilterNodes = 100 // of the tree, leaves and branches
	MaxFilterDepth = 16  // of the tree, its root counted
	MaxFilterVals  = 500 // of all sets together
	// maxDecimal is how long a number may be, bytes, that a filter compares by size; longer ones are none.
	maxDecimal = 200
)

// Filter chooses publications by their tags: a tree of conditions. It belongs to whoever decoded it, refers to no frame, and
// is never changed, so that any number of goroutines may use it.
//
// Source: centrifuge-protocol.md, 14; FilterNode of client.proto, github.com/centrifugal/protocol v0.17.0.
type Filter struct{ root filterNode }

// filterNode is a condition, or joins others.
type filterNode struct {
	op    filterOp
	cmp   filterCmp
	key   string
	val   string
	vals  []string
	nodes []filterNode
}

type filterOp uint8

const (
	opLeaf filterOp = iota
	opAnd
	opOr
	opNot
)

var filterOps = []string{opLeaf: "", opAnd: "and", opOr: "or", opNot: "not"}

type filterCmp uint8

const (
	cmpNone filterCmp = iota
	cmpEqual
	cmpNotEqual
	cmpIn
	cmpNotIn
	cmpExists
	cmpNotExists
	cmpPrefix
	cmpSuffix
	cmpContains
	cmpLess
	cmpLessEqual
	cmpGreater
	cmpGreaterEqual
)

var filterCmps = []string{
	cmpNone: "", cmpEqual: "eq", cmpNotEqual: "neq", cmpIn: "in", cmpNotIn: "nin", cmpExists: "ex", cmpNotExists: "nex",
	cmpPrefix: "sw", cmpSuffix: "ew", cmpContains: "ct", cmpLess: "lt", cmpLessEqual: "lte", cmpGreater: "gt", cmpGreaterEqual: "gte",
}

// Match tells whether a publication with these tags is wanted; a nil filter wants all. What is compared by size and is no
// decimal number, as a tag or in the filter, is not wanted. Allocates nothing; linear in the filter times the tags.
func (f *Filter) Match(tags []Tag) bool { return f == nil || f.root.match(tags) }

func (n *filterNode) match(tags []Tag) bool {
	switch n.op {
	case opAnd:
		for i := range n.nodes {
			if !n.nodes[i].match(tags) {
				return false
			}
		}
		return true
	case opOr:
		for i := range n.nodes {
			if n.nodes[i].match(tags) {
				return true
			}
		}
		return false
	case opNot:
		return !n.nodes[0].match(tags)
	}
	for i := range tags {
		if tags[i].Key == n.key {
			return n.matchValue(tags[i].Value)
		}
	}
	switch n.cmp { // a set sees a missing tag as an empty one
	case cmpNotEqual, cmpNotExists:
		return true
	case cmpIn, cmpNotIn:
		return n.matchValue("")
	}
	return false
}

// matchValue compares the tag's value.
func (n *filterNode) matchValue(value string) bool {
	switch n.cmp {
	case cmpEqual:
		return value == n.val
	case cmpNotEqual:
		return value != n.val
	case cmpIn:
		return slices.Contains(n.vals, value)
	case cmpNotIn:
		return !slices.Contains(n.vals, value)
	case cmpExists:
		return true
	case cmpPrefix:
		return strings.HasPrefix(value, n.val)
	case cmpSuffix:
		return strings.HasSuffix(value, n.val)
	case cmpContains:
		return strings.Contains(value, n.val)
	case cmpLess, cmpLessEqual, cmpGreater, cmpGreaterEqual:
		return n.matchSize(value)
	}
	return false
}

func (n *filterNode) matchSize(value string) bool {
	a, ok := parseDecimal(value)
	b, known := parseDecimal(n.val)
	if !ok || !known {
		return false
	}
	switch c := a.compare(b); n.cmp {
	case cmpLess:
		return c < 0
	case cmpLessEqual:
		return c <= 0
	case cmpGreater:
		return c > 0
	default:
		return c >= 0
	}
}

// valid tells whether the tree says something: every operation known and with what it needs, and nothing else.
func (n *filterNode) valid() bool {
	switch n.op {
	case opAnd, opOr, opNot:
		if len(n.nodes) == 0 || n.op == opNot && len(n.nodes) != 1 {
			return false
		}
		for i := range n.nodes {
			if !n.nodes[i].valid() {
				return false
			}
		}
		return true
	}
	switch n.cmp {
	case cmpNone:
		return false
	case cmpIn, cmpNotIn:
		return n.key != "" && n.val == "" && len(n.vals) > 0
	case cmpExists, cmpNotExists:
		return n.val == "" && len(n.vals) == 0
	}
	return n.key != "" && n.val != "" && len(n.vals) == 0
}

// decimal is a number as its significant digits.
type decimal struct {
	negative       bool
	whole, decimal string // without zeros in front and behind, respectively
}

// parseDecimal reads [+-]digits[.digits]. No exponents, which nobody writes into tags and which make short texts of numbers
// of any length. Exact, because it converts nothing.
func parseDecimal(s string) (d decimal, ok bool) {
	if len(s) > maxDecimal {
		return d, false
	}
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	var point bool
	d.whole, d.decimal, point = strings.Cut(s, ".")
	if !allDigits(d.whole) || point && !allDigits(d.decimal) {
		return d, false
	}
	d.whole, d.decimal = strings.TrimLeft(d.whole, "0"), strings.TrimRight(d.decimal, "0")
	d.negative = d.negative && d.whole+d.decimal != "" // there is one zero
	return d, true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// compare returns -1, 0 or 1.
func (d decimal) compare(other decimal) int {
	switch {
	case d.negative && !other.negative:
		return -1
	case !d.negative && other.negative:
		return 1
	case d.negative:
		return other.compareSize(d)
	}
	return d.compareSize(other)
}

func (d decimal) compareSize(other decimal) int {
	if len(d.whole) != len(other.whole) {
		if len(d.whole) < len(other.whole) {
			return -1
		}
		return 1
	}
	if c := strings.Compare(d.whole, other.whole); c != 0 {
		return c
	}
	return strings.Compare(d.decimal, other.decimal) // fractions are in the order of their texts
}
