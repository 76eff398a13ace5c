package broker

import (
	"encoding/json"
	"fmt"
)

// StreamName is what the stream of a namespace is called in NATS; "" is the namespace of channels without one.
func StreamName(prefix, namespace string) string { return histName(prefix, namespaceToken(namespace)) }

// StreamMismatches compares a stream's configuration, the JSON object that NATS tells of it, with what a node would make
// of it: one sentence for each setting that differs. For tools that look without changing anything. Errors: JSON's, or
// ErrNoStream when the stream cannot be used as it is.
func StreamMismatches(prefix string, c StreamConfig, config []byte) ([]string, error) {
	c.setDefaults()
	var have jsConfig
	if err := json.Unmarshal(config, &have); err != nil {
		return nil, fmt.Errorf("broker: configuration of a stream: %w", err)
	}
	st := newStreamOf(prefix, c)
	return st.differences(&c, have, prefix), st.usable(have, prefix)
}
