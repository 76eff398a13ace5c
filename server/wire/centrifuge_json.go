package wire

// decodeJSON reads a command object. Two passes: the first finds the payloads and checks the grammar of everything, the
// second reads the one payload that counts.
func (r *CommandReader) decodeJSON(line []byte, c *Command) bool {
	in := &r.cursor
	*in = jsonCursor{p: line, scratch: &r.scratch}
	var payloads [NumMethods][]byte
	if in.peek() != '{' {
		return false
	}
	for m := in.members(); m.next(); {
		if m.key == "id" {
			c.ID = uint32(in.uint(1<<32 - 1))
			continue
		}
		method := methodOf(m.key)
		value := in.raw()
		if method == MethodNone || string(value) == "null" {
			continue
		}
		if payloads[method] != nil {
			return false
		}
		payloads[method] = value
	}
	if in.bad || !in.atEnd() {
		return false
	}
	for method := MethodConnect; method < NumMethods; method++ {
		if payloads[method] != nil {
			c.Method = method
			*in = jsonCursor{p: payloads[method], scratch: &r.scratch}
			c.readPayload(in)
			return !in.bad
		}
	}
	return true
}

func (c *Command) readPayload(in *jsonCursor) {
	for m := in.members(); m.next(); {
		if !c.readMember(in, m.key) {
			in.skip()
		}
	}
}

// readMember reads a member that the command's method has; false: it has none of that name.
func (c *Command) readMember(in *jsonCursor, key string) bool {
	switch has := commonFields[c.Method]; {
	case key == "channel" && has&fieldChannel != 0:
		c.Channel = in.text()
		return true
	case key == "token" && has&fieldToken != 0:
		c.Token = in.text()
		return true
	case key == "data" && has&fieldData != 0:
		c.Data = in.raw()
		return true
	}
	switch c.Method {
	case MethodConnect:
		return c.readConnect(in, key)
	case MethodSubscribe:
		return c.Subscription.read(in, key)
	case MethodHistory:
		return c.readHistory(in, key)
	case MethodRPC:
		if key != "method" {
			return false
		}
		c.RPCMethod = in.text()
		return true
	}
	return false
}

func (c *Command) readConnect(in *jsonCursor, key string) bool {
	switch key {
	case "name":
		c.Name = in.text()
	case "version":
		c.Version = in.text()
	case "subs":
		for m := in.members(); m.next(); {
			s := ConnectSub{Channel: m.key}
			s.readAll(in)
			in.bad = in.bad || len(c.Subs) == maxConnectSubs
			c.Subs = append(c.Subs, s)
		}
	case "headers":
		for m := in.members(); m.next(); {
			in.bad = in.bad || len(c.Headers) == maxConnectHeaders
			c.Headers = append(c.Headers, Header{m.key, in.text()})
		}
	default:
		return false
	}
	return true
}

func (s *ConnectSub) readAll(in *jsonCursor) {
	for m := in.members(); m.next(); {
		if !s.read(in, m.key) {
			in.skip()
		}
	}
}

func (s *Subscription) read(in *jsonCursor, key string) bool {
	switch key {
	case "recover":
		s.Recover = in.bool()
	case "epoch":
		s.Epoch = in.text()
	case "offset":
		s.Offset = in.uint(1<<64 - 1)
	case "positioned":
		s.Positioned = in.bool()
	case "recoverable":
		s.Recoverable = in.bool()
	case "join_leave":
		s.JoinLeave = in.bool()
	case "delta":
		s.Delta = in.text()
	case "flag":
		s.Flag = in.int(1<<63 - 1)
	case "type":
		s.Type = int32(in.int(1<<31 - 1))
	case "tf":
		s.readFilter(in.raw())
	default:
		return false
	}
	return true
}

func (c *Command) readHistory(in *jsonCursor, key string) bool {
	switch key {
	case "limit":
		c.Limit = int32(in.int(1<<31 - 1))
	case "reverse":
		c.Reverse = in.bool()
	case "since":
		c.HasSince = in.peek() == '{'
		for m := in.members(); m.next(); {
			switch m.key {
			case "offset":
				c.Offset = in.uint(1<<64 - 1)
			case "epoch":
				c.Epoch = in.text()
			default:
				in.skip()
			}
		}
	default:
		return false
	}
	return true
}
