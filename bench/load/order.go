package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"throng/bench/engine"
)

// Op names what an order asks for.
type Op string

// The orders. Setup must come first but for Clock.
const (
	OpClock     Op = "clock"     // answers with the worker's clock
	OpSetup     Op = "setup"     // makes the engine of Plan
	OpOpen      Op = "open"      // answered when all rows are ready or given up
	OpDrop      Op = "drop"      // closes all rows, or only those that listen (Listeners)
	OpHeartbeat Op = "heartbeat" // Period, 0 ends it
	OpPhase     Op = "phase"     // Phase
	OpPublish   Op = "publish"   // answered when the schedule was sent
	OpAcks      Op = "acks"      // answered when all that was published has its answer, or at the timeout
	OpBurst     Op = "burst"     // answered when all deliveries arrived, or at the timeout
	OpPeek      Op = "peek"      // answers with counters
	OpCollect   Op = "collect"   // answers with everything, starts the next phase at 0
	OpAbandon   Op = "abandon"   // forgets the job under way, which is never answered
)

// Plan is a whole load, the same for every worker but for the share it carries.
// Units as in engine.Config.
type Plan struct {
	Targets        []string      `json:"targets"`
	PublishTargets []string      `json:"publish_targets,omitempty"`
	Dialect        string        `json:"dialect"`
	PublishDialect string        `json:"publish_dialect,omitempty"`
	ReadyAtUpgrade bool          `json:"ready_at_upgrade,omitempty"`
	Connections    int           `json:"connections"` // of all workers
	Channels       int           `json:"channels"`
	Members        int           `json:"members,omitempty"` // per channel in a row; 0 deals them round
	Talkers        int           `json:"talkers,omitempty"`
	ChannelPrefix  string        `json:"channel_prefix,omitempty"`
	Payload        int           `json:"payload"`
	Run            uint16        `json:"run"`
	PerAddress     int           `json:"per_address,omitempty"`
	Timeout        time.Duration `json:"timeout_ns,omitempty"`
	SilentAfter    time.Duration `json:"silent_after_ns,omitempty"`
	DropByReset    bool          `json:"drop_by_reset,omitempty"`
	TLSCA          string        `json:"tls_ca,omitempty"` // PEM text of the authority to trust
	TLSInsecure    bool          `json:"tls_insecure,omitempty"`
	Answers        bool          `json:"answers,omitempty"`
	Positioned     bool          `json:"positioned,omitempty"`

	Share Share `json:"share"`
}

// Share is one worker's part of a Plan.
type Share struct {
	First          int           `json:"first"`
	Count          int           `json:"count"`
	FirstPublisher int           `json:"first_publisher,omitempty"`
	PublisherCount int           `json:"publisher_count,omitempty"`
	ClockOffset    time.Duration `json:"clock_offset_ns,omitempty"`
	// Targets, when set, replaces the plan's: one worker per server node.
	Targets []string `json:"targets,omitempty"`
}

// Order is one line to a worker.
type Order struct {
	ID      int                  `json:"id"`
	Op      Op                   `json:"op"`
	Plan    *Plan                `json:"plan,omitempty"`
	Open    *engine.OpenOrder    `json:"open,omitempty"`
	Publish *engine.PublishOrder `json:"publish,omitempty"`
	Burst   *engine.BurstOrder   `json:"burst,omitempty"`
	Acks    *engine.AckOrder     `json:"acks,omitempty"`
	Period  time.Duration        `json:"period_ns,omitempty"`
	Phase   string               `json:"phase,omitempty"`

	Listeners bool `json:"listeners,omitempty"` // of a drop: publishers stay
}

// Answer is one line from a worker.
type Answer struct {
	ID    int    `json:"id"`
	Error string `json:"error,omitempty"`
	Now   int64  `json:"now,omitempty"` // worker's clock, ns
	PID   int    `json:"pid,omitempty"`
	Stats *Stats `json:"stats,omitempty"`
}

// Stats is an engine.Snapshot in JSON.
type Stats struct {
	Counters engine.Counters        `json:"counters"`
	Failures map[string]uint64      `json:"failures,omitempty"`
	Drops    map[string]uint64      `json:"drops,omitempty"`
	Codes    map[string]uint64      `json:"codes,omitempty"`
	Silent   uint64                 `json:"silent,omitempty"`
	Latency  string                 `json:"latency,omitempty"` // HdrHistogram V2, base64
	Connect  string                 `json:"connect,omitempty"`
	Ack      string                 `json:"ack,omitempty"`
	Channels []engine.ChannelCounts `json:"channels,omitempty"`
	RSS      int64                  `json:"rss,omitempty"` // of the worker's process, bytes
}

func statsOf(s *engine.Snapshot) (*Stats, error) {
	out := &Stats{Counters: s.Counters, Failures: s.Failures, Drops: s.Drops, Codes: s.Codes, Silent: s.Silent, Channels: s.Channels}
	var errs [3]error
	out.Latency, errs[0] = EncodeHistogram(s.Latency)
	out.Connect, errs[1] = EncodeHistogram(s.Connect)
	out.Ack, errs[2] = EncodeHistogram(s.Ack)
	return out, errors.Join(errs[:]...)
}

// EncodeHistogram returns h in the portable V2 form, base64; "" for nil or empty.
func EncodeHistogram(h *hdrhistogram.Histogram) (string, error) {
	if h == nil || h.TotalCount() == 0 {
		return "", nil
	}
	p, err := h.EncodeV2()
	if err != nil {
		return "", fmt.Errorf("encode histogram: %w", err)
	}
	return string(p), nil
}

// DecodeHistogram is the reverse of EncodeHistogram; "" gives an empty histogram.
func DecodeHistogram(s string) (*hdrhistogram.Histogram, error) {
	if s == "" {
		return engine.NewHistogram(), nil
	}
	h, err := hdrhistogram.Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("decode histogram: %w", err)
	}
	return h, nil
}

// Totals are the merged figures of all workers.
type Totals struct {
	Counters engine.Counters
	Failures map[string]uint64
	Drops    map[string]uint64
	Codes    map[string]uint64
	Silent   uint64
	Latency  *hdrhistogram.Histogram
	Connect  *hdrhistogram.Histogram
	Ack      *hdrhistogram.Histogram
	Channels []engine.ChannelCounts
	RSS      int64
}

// Merge adds up what the workers answered. A histogram value that does not fit
// the merged geometry is an error: it would be a silent loss.
func Merge(parts []*Stats) (*Totals, error) {
	t := &Totals{
		Failures: map[string]uint64{}, Drops: map[string]uint64{}, Codes: map[string]uint64{},
		Latency: engine.NewHistogram(), Connect: engine.NewHistogram(), Ack: engine.NewHistogram(),
	}
	for _, p := range parts {
		if p == nil {
			continue
		}
		t.Counters.Add(&p.Counters)
		addAll(t.Failures, p.Failures)
		addAll(t.Drops, p.Drops)
		addAll(t.Codes, p.Codes)
		t.Silent += p.Silent
		t.RSS += p.RSS
		t.addChannels(p.Channels)
		if err := errors.Join(mergeInto(t.Latency, p.Latency), mergeInto(t.Connect, p.Connect), mergeInto(t.Ack, p.Ack)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func addAll(dst, src map[string]uint64) {
	for k, v := range src {
		dst[k] += v
	}
}

func (t *Totals) addChannels(src []engine.ChannelCounts) {
	for len(t.Channels) < len(src) {
		t.Channels = append(t.Channels, engine.ChannelCounts{})
	}
	for i := range src {
		dst := &t.Channels[i]
		dst.Sent += src[i].Sent
		dst.Received += src[i].Received
		dst.Duplicated += src[i].Duplicated
		dst.OutOfOrder += src[i].OutOfOrder
		dst.Members += src[i].Members
	}
}

func mergeInto(dst *hdrhistogram.Histogram, encoded string) error {
	h, err := DecodeHistogram(encoded)
	if err != nil {
		return err
	}
	if dropped := dst.Merge(h); dropped > 0 {
		return fmt.Errorf("merge histograms: %d values do not fit", dropped)
	}
	return nil
}

// MembersOf returns how many connections the plan puts into channel i.
func (p *Plan) MembersOf(i int) int {
	if p.Members > 0 {
		return max(min(p.Members, p.Connections-i*p.Members), 0)
	}
	n := p.Connections / p.Channels
	if i < p.Connections%p.Channels {
		n++
	}
	return n
}
