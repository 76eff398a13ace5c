package proxy

// Hook is what the backend is asked about.
type Hook uint8

// The hooks, by their names in the configuration.
const (
	Connect Hook = iota
	Refresh
	Subscribe
	SubRefresh
	Publish
	RPC
	numHooks
)

var hookNames = [numHooks]string{"connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc"}

// String returns the metric label.
func (h Hook) String() string { return hookNames[h] }

// Hooks returns all hooks, for registering metrics.
func Hooks() []Hook {
	all := make([]Hook, numHooks)
	for i := range all {
		all[i] = Hook(i)
	}
	return all
}

// DefaultName is how rules name the endpoint of a hook that is set directly, not in the list of named ones.
const DefaultName = "default"
