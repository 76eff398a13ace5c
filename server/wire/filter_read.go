package wire

import "strings"

// filterReader counts what a filter is made of while it is decoded. bad is sticky, and does not make the command bad: the
// subscription is refused, the connection stays.
type filterReader struct {
	nodes, vals int
	bad         bool
}

// readFilter decodes the filter in a command of a JSON client, null being none. text is a JSON value, borrowed; its strings
// are copied.
func (s *Subscription) readFilter(text []byte) {
	if len(text) == 0 || string(text) == "null" {
		return
	}
	var scratch []byte
	c := jsonCursor{p: text, scratch: &scratch}
	var r filterReader
	f := new(Filter)
	r.readJSON(&c, &f.root, 1)
	s.setFilter(f, !r.bad && !c.bad)
}

// parseFilter decodes the filter in a command of a Protobuf client. p is borrowed; its strings are copied.
func (s *Subscription) parseFilter(p []byte) {
	var r filterReader
	f := new(Filter)
	r.parse(p, &f.root, 1)
	s.setFilter(f, !r.bad)
}

// setFilter takes one filter at most.
func (s *Subscription) setFilter(f *Filter, ok bool) {
	if s.Filter != nil || !ok || !f.root.valid() {
		s.BadFilter = true
	}
	if s.BadFilter {
		f = nil
	}
	s.Filter = f
}

// enter counts a node at that depth. False: too many, or too deep.
func (r *filterReader) enter(depth int) bool {
	r.nodes++
	r.bad = r.bad || r.nodes > MaxFilterNodes || depth > MaxFilterDepth
	return !r.bad
}

func (r *filterReader) addVal(n *filterNode, val string) {
	r.vals++
	r.bad = r.bad || r.vals > MaxFilterVals
	if !r.bad {
		n.vals = append(n.vals, strings.Clone(val))
	}
}

func (r *filterReader) readJSON(c *jsonCursor, n *filterNode, depth int) {
	if c.peek() != '{' || !r.enter(depth) {
		r.bad = true
		return
	}
	var seen [6]bool
	once := func(i int) {
		r.bad = r.bad || seen[i]
		seen[i] = true
	}
	for m := c.members(); m.next() && !r.bad; {
		switch m.key {
		case "op":
			once(0)
			r.setOp(n, c.text())
		case "key":
			once(1)
			n.key = strings.Clone(c.text())
		case "cmp":
			once(2)
			r.setCmp(n, c.text())
		case "val":
			once(3)
			n.val = strings.Clone(c.text())
		case "vals":
			once(4)
			r.readVals(c, n)
		case "nodes":
			once(5)
			r.readNodes(c, n, depth)
		default:
			c.skip()
		}
	}
}

func (r *filterReader) readVals(c *jsonCursor, n *filterNode) {
	for e := c.elements(); e.next() && !r.bad; {
		r.addVal(n, c.text())
	}
}

func (r *filterReader) readNodes(c *jsonCursor, n *filterNode, depth int) {
	for e := c.elements(); e.next() && !r.bad; {
		n.nodes = append(n.nodes, filterNode{})
		r.readJSON(c, &n.nodes[len(n.nodes)-1], depth+1)
	}
}

func (r *filterReader) parse(p []byte, n *filterNode, depth int) {
	if !r.enter(depth) {
		return
	}
	in := pbCursor{p: p}
	for in.next() && !r.bad {
		switch in.number {
		case 1:
			r.setOp(n, in.text())
		case 2:
			n.key = strings.Clone(in.text())
		case 3:
			r.setCmp(n, in.text())
		case 4:
			n.val = strings.Clone(in.text())
		case 5:
			r.addVal(n, in.text())
		case 6:
			n.nodes = append(n.nodes, filterNode{})
			r.parse(in.bytes(), &n.nodes[len(n.nodes)-1], depth+1)
		}
	}
	r.bad = r.bad || in.bad
}

func (r *filterReader) setOp(n *filterNode, name string) {
	for i, known := range filterOps {
		if name == known {
			n.op = filterOp(i)
			return
		}
	}
	r.bad = true
}

func (r *filterReader) setCmp(n *filterNode, name string) {
	for i, known := range filterCmps {
		if name == known {
			n.cmp = filterCmp(i)
			return
		}
	}
	r.bad = true
}

// elements walks an array as members walks an object; null counts as an empty one.
type elements struct {
	c     *jsonCursor
	begun bool
	null  bool
}

func (c *jsonCursor) elements() elements {
	if c.null() {
		return elements{c: c, null: true}
	}
	c.want('[')
	return elements{c: c}
}

func (e *elements) next() bool {
	c := e.c
	if e.null || c.bad || c.take(']') {
		return false
	}
	if e.begun {
		c.want(',')
	}
	e.begun = true
	return !c.bad
}
