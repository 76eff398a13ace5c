package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Metadata of our streams. The proof that nothing was removed after a position counts the messages of a channel against the number
// kept; messages removed under a smaller number would fool it, so the stream says since when the number holds. A number that
// is lowered counts as well: nats-server 2.15.2 may then remove more than it should while publications come in.
const (
	metaLimit   = "throng_limit" // max_msgs_per_subject as Throng last set it
	metaSince   = "throng_since" // the stream's last sequence when it was last changed
	sinceSoon   = "pending"      // changed, sequence not known yet
	metadataKey = "metadata"
)

// wanted is the configuration of a new stream.
func (st *stream) wanted(c *StreamConfig, prefix string) jsConfig {
	out := st.settings(c, prefix)
	out.set("name", st.name)
	out.set("retention", "limits")
	out.set("storage", c.Storage)
	if st.once {
		return out
	}
	out.set(metadataKey, map[string]string{metaLimit: strconv.Itoa(c.Size + 1), metaSince: "0"})
	return out
}

// settings are those that NATS can change on an existing stream.
func (st *stream) settings(c *StreamConfig, prefix string) jsConfig {
	out := make(jsConfig)
	out.set("num_replicas", max(c.Replicas, 1))
	out.set("max_age", c.MaxAge.Nanoseconds())
	out.set("duplicate_window", c.DuplicateWindow.Nanoseconds())
	out.set("discard", "old")
	if c.Cluster != "" || len(c.Tags) > 0 {
		out.set("placement", struct {
			Cluster string   `json:"cluster,omitempty"`
			Tags    []string `json:"tags,omitempty"`
		}{c.Cluster, c.Tags})
	}
	if st.once {
		// Only the server's memory of ids is wanted, which needs no message.
		out.set("subjects", []string{st.subject})
		out.set("max_msgs", 1)
		return out
	}
	out.set("subjects", []string{st.subject, st.epochAt})
	out.set("max_bytes", -1)
	if c.MaxBytes > 0 {
		out.set("max_bytes", c.MaxBytes)
	}
	out.set("max_msgs", -1)
	out.set("max_msgs_per_subject", c.Size+1)
	out.set("allow_direct", true)
	out.set("allow_msg_ttl", true)
	out.set("republish", map[string]string{"src": st.subject, "dest": prefix + "." + liveToken + ".>"})
	return out
}

func (c jsConfig) set(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // only plain values of this file
	}
	c[key] = raw
}

// same compares as JSON, an absent value being the zero one.
func same(a, b json.RawMessage) bool {
	return reflect.DeepEqual(plain(a), plain(b))
}

func plain(raw json.RawMessage) any {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil || v == false || v == "" || v == float64(0) {
		return nil
	}
	return v
}

// differences names the settings of an existing stream that are not as configured.
func (st *stream) differences(c *StreamConfig, have jsConfig, prefix string) []string {
	var out []string
	for key, value := range st.settings(c, prefix) {
		if !same(have[key], value) {
			out = append(out, fmt.Sprintf("%s is %s in NATS and %s in this node's configuration: another node or operator set it last", key, shown(have[key]), value))
		}
	}
	if storage := text(have["storage"]); storage != c.Storage {
		out = append(out, fmt.Sprintf("storage is %q and %q is configured: NATS cannot move a stream; delete the stream %s, with its history, to have it made anew",
			storage, c.Storage, st.name))
	}
	slices.Sort(out)
	return out
}

func shown(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "not set"
	}
	return string(raw)
}

// ours says whether an existing stream may be changed by us: one of Throng's has these subjects from its beginning.
func (st *stream) ours(have jsConfig, prefix string) error {
	var wrong []string
	for _, key := range []string{"mirror", "sources", "subject_transform", "sealed", "no_ack", "deny_purge"} {
		if plain(have[key]) != nil {
			wrong = append(wrong, key+" is set")
		}
	}
	if retention := text(have["retention"]); retention != "limits" {
		wrong = append(wrong, "its retention is "+retention)
	}
	return st.without(append(wrong, st.unlike(have, prefix, "subjects")...))
}

// usable says whether an existing stream does what Streams relies on.
func (st *stream) usable(have jsConfig, prefix string) error {
	if st.once {
		return nil
	}
	return st.without(st.unlike(have, prefix, "republish", "allow_direct", "allow_msg_ttl"))
}

func (st *stream) unlike(have jsConfig, prefix string, keys ...string) (wrong []string) {
	want := st.settings(&StreamConfig{}, prefix)
	for _, key := range keys {
		if !same(have[key], want[key]) {
			wrong = append(wrong, fmt.Sprintf("its %s is %s", key, shown(have[key])))
		}
	}
	return wrong
}

func (st *stream) without(wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the existing stream %s is none of Throng's (%s): rename or delete it, or choose another --nats-prefix",
		ErrNoStream, st.name, strings.Join(wrong, ", "))
}

// reconcile brings the configuration into an existing stream, as far as NATS allows it.
func (s *Streams) reconcile(ctx context.Context, st *stream, c *StreamConfig, info jsInfo) (jsInfo, []string, error) {
	next, changed := st.merged(c, info.Config, s.n.cfg.Prefix)
	if changed {
		updated, err := s.updateStream(ctx, st.name, next)
		if err != nil {
			mismatches := st.differences(c, info.Config, s.n.cfg.Prefix)
			return info, append(mismatches, "NATS refused to change the stream: "+err.Error()), nil
		}
		info = updated
	}
	if grown, ok := info.Config.metadata()[metaSince]; ok && grown == sinceSoon {
		// Everything removed under another number was stored before now.
		now, err := s.streamInfo(ctx, st.name)
		if err != nil {
			return info, nil, err
		}
		next, _ := st.merged(c, now.Config, s.n.cfg.Prefix)
		next.setMetadata(metaSince, strconv.FormatUint(now.State.Last, 10))
		if info, err = s.updateStream(ctx, st.name, next); err != nil {
			return info, nil, err
		}
	}
	return info, st.differences(c, info.Config, s.n.cfg.Prefix), nil
}

// merged is the configuration there is, with ours over it.
func (st *stream) merged(c *StreamConfig, have jsConfig, prefix string) (next jsConfig, changed bool) {
	next = make(jsConfig, len(have))
	for key, value := range have {
		next[key] = value
	}
	for key, value := range st.settings(c, prefix) {
		if !same(have[key], value) {
			next[key], changed = value, true
		}
	}
	if st.once {
		return next, changed
	}
	limit := int(number(have["max_msgs_per_subject"]))
	recorded, _ := have.limitRecord()
	if recorded != limit || c.Size+1 != limit {
		next.setMetadata(metaSince, sinceSoon)
	}
	if recorded != c.Size+1 {
		next.setMetadata(metaLimit, strconv.Itoa(c.Size+1))
		changed = true
	}
	return next, changed
}

func (c jsConfig) metadata() map[string]string {
	out := make(map[string]string)
	_ = json.Unmarshal(c[metadataKey], &out) // what is no metadata is none
	return out
}

func (c jsConfig) setMetadata(key, value string) {
	m := c.metadata()
	m[key] = value
	c.set(metadataKey, m)
}

// limitRecord is the number kept per channel as Throng set it, and the sequence since which it holds.
func (c jsConfig) limitRecord() (limit int, grown uint64) {
	m := c.metadata()
	limit, err := strconv.Atoi(m[metaLimit])
	if err != nil {
		return 0, never
	}
	grown, err = strconv.ParseUint(m[metaSince], 10, 64)
	if err != nil {
		return 0, never // being raised, or not ours
	}
	return limit, grown
}
