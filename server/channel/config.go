package channel

import "time"

// Config is the `channel:` section of the configuration file. Start from DefaultConfig, decode over it with Decode, hand
// it to Compile.
//
// Source: centrifuge-protocol.md, 8; the names are Centrifugo's, so a namespace can be carried over as it is.
type Config struct {
	// MaxLength of a channel name in bytes. Default 255: fits any NATS subject after escaping, and every index key.
	MaxLength int `yaml:"max_length"`
	// ChannelLimit is how many channels one connection may hold. Default 128: bounds what one peer makes the node keep.
	ChannelLimit int `yaml:"channel_limit"`

	// PrivatePrefix starts names that always need a subscription token. Default "$"; empty turns the rule off.
	PrivatePrefix string `yaml:"private_prefix"`
	// NamespaceBoundary ends the namespace part of a name. Default ":"; empty means one option set for all names.
	NamespaceBoundary string `yaml:"namespace_boundary"`
	// UserBoundary starts the user list of a user-limited name. Default "#"; empty turns such lists off.
	UserBoundary string `yaml:"user_boundary"`
	// UserSeparator stands between two users of such a list. Default ","; empty means one user only.
	UserSeparator string `yaml:"user_separator"`

	// HistoryMetaTTL is how long a position stays usable where a namespace does not say. Default 720h: a month off-line.
	HistoryMetaTTL time.Duration `yaml:"history_meta_ttl" reserved:"history"`
	// PublicationDataFormat is the format of namespaces that set none.
	PublicationDataFormat string `yaml:"publication_data_format"`

	// PersonalChannel subscribes every user with an id to a channel of their own at connect.
	PersonalChannel PersonalChannelConfig `yaml:"subscribe_to_user_personal_channel"`

	// WithoutNamespace holds the options of names without a namespace boundary.
	WithoutNamespace Options `yaml:"without_namespace"`
	// Namespaces by name; a name whose namespace is not here is refused (error 102).
	Namespaces []NamespaceConfig `yaml:"namespaces"`
}

// PersonalChannelConfig says whether and where personal channels live: `#<user>` or `<namespace>:#<user>`.
type PersonalChannelConfig struct {
	// Enabled subscribes at connect every user whose id can be written into a name.
	Enabled bool `yaml:"enabled"`
	// Namespace of these channels; "" puts them among the names without one.
	Namespace string `yaml:"personal_channel_namespace"`
}

// NamespaceConfig is one entry of `namespaces:`.
type NamespaceConfig struct {
	// Name stands before the boundary: 1 to 64 of a-z A-Z 0-9 _ - and dot.
	Name    string `yaml:"name"`
	Options `yaml:",inline"`
}

// Options are what a namespace may switch on. Everything is off by default: a namespace with nothing but a name lets
// clients subscribe with a token and nothing else.
//
// A `reserved` tag marks options whose feature this node does not serve (see Environment): they are read and checked, so
// that a configuration can be written ahead, and reported by Rules.Notes, so that nobody believes them at work.
//
// Source: centrifuge-protocol.md, 8, and issue 4 item 7 for Subject and AllowWildcards.
type Options struct {
	// Presence keeps who is in a channel; JoinLeave announces comings and goings to subscribers that ask for it, and
	// ForcePushJoinLeave to all.
	Presence           bool `yaml:"presence"`
	JoinLeave          bool `yaml:"join_leave"`
	ForcePushJoinLeave bool `yaml:"force_push_join_leave"`

	// Who may do what: any client, current subscribers, and whether the anonymous user counts among these.
	AllowSubscribeForClient    bool `yaml:"allow_subscribe_for_client"`
	AllowSubscribeForAnonymous bool `yaml:"allow_subscribe_for_anonymous"`
	AllowPublishForClient      bool `yaml:"allow_publish_for_client"`
	AllowPublishForSubscriber  bool `yaml:"allow_publish_for_subscriber"`
	AllowPublishForAnonymous   bool `yaml:"allow_publish_for_anonymous"`
	AllowPresenceForClient     bool `yaml:"allow_presence_for_client"`
	AllowPresenceForSubscriber bool `yaml:"allow_presence_for_subscriber"`
	AllowPresenceForAnonymous  bool `yaml:"allow_presence_for_anonymous"`
	AllowHistoryForClient      bool `yaml:"allow_history_for_client" reserved:"history"`
	AllowHistoryForSubscriber  bool `yaml:"allow_history_for_subscriber" reserved:"history"`
	AllowHistoryForAnonymous   bool `yaml:"allow_history_for_anonymous" reserved:"history"`
	AllowUserLimitedChannels   bool `yaml:"allow_user_limited_channels"`

	// ChannelRegex replaces the printable-ASCII check of names. It sees the part after the boundary and, as in
	// Centrifugo, may match anywhere in it: write ^ and $.
	ChannelRegex string `yaml:"channel_regex"`
	// PublicationDataFormat is what clients and the API may publish: "" anything but nothing, "json", "json_object", or
	// "binary" (anything, also nothing).
	PublicationDataFormat string `yaml:"publication_data_format"`

	// Proxies: whether the application backend is asked, and which one ("default" where no name is given).
	SubscribeProxyEnabled        bool   `yaml:"subscribe_proxy_enabled"`
	SubscribeProxyName           string `yaml:"subscribe_proxy_name"`
	PublishProxyEnabled          bool   `yaml:"publish_proxy_enabled"`
	PublishProxyName             string `yaml:"publish_proxy_name"`
	SubRefreshProxyEnabled       bool   `yaml:"sub_refresh_proxy_enabled"`
	SubRefreshProxyName          string `yaml:"sub_refresh_proxy_name"`
	SubscribeStreamProxyEnabled  bool   `yaml:"subscribe_stream_proxy_enabled" reserved:"subscribe stream proxies"`
	SubscribeStreamProxyName     string `yaml:"subscribe_stream_proxy_name" reserved:"subscribe stream proxies"`
	SubscribeStreamBidirectional bool   `yaml:"subscribe_stream_proxy_bidirectional" reserved:"subscribe stream proxies"`

	// SubscriptionType is "stream" (also the meaning of ""); Centrifugo's map and shared_poll are not served.
	SubscriptionType string `yaml:"subscription_type"`

	// Subject makes the namespace NATS-native: `subject: "sensors.>"` maps channel sensors:a.b to subject sensors.a.b, with
	// `*` standing for one and `>` for one or more dot-separated parts of the name.
	Subject string `yaml:"subject"`
	// AllowWildcards lets clients subscribe to names such as sensors:*.temp there. Off by default: one such subscription
	// takes the traffic of every subject it matches.
	AllowWildcards bool `yaml:"allow_wildcards"`

	// History and recovery.
	HistorySize    int           `yaml:"history_size" reserved:"history"`
	HistoryTTL     time.Duration `yaml:"history_ttl" reserved:"history"`
	HistoryMetaTTL time.Duration `yaml:"history_meta_ttl" reserved:"history"`
	// HistoryStorage ("file" or "memory"), HistoryReplicas and HistoryMaxBytes say how NATS keeps the namespace's stream; the
	// history section says it for those that are left out.
	HistoryStorage    string   `yaml:"history_storage" reserved:"history"`
	HistoryReplicas   int      `yaml:"history_replicas" reserved:"history"`
	HistoryMaxBytes   int64    `yaml:"history_max_bytes" reserved:"history"`
	ForcePositioning  bool     `yaml:"force_positioning" reserved:"history"`
	AllowPositioning  bool     `yaml:"allow_positioning" reserved:"history"`
	ForceRecovery     bool     `yaml:"force_recovery" reserved:"history"`
	AllowRecovery     bool     `yaml:"allow_recovery" reserved:"history"`
	ForceRecoveryMode string   `yaml:"force_recovery_mode" reserved:"history"`
	AutoCacheRecover  bool     `yaml:"auto_cache_recover" reserved:"history"`
	AllowedDeltaTypes []string `yaml:"allowed_delta_types" reserved:"history"`
	DeltaPublish      bool     `yaml:"delta_publish" reserved:"history"`
	AllowTagsFilter   bool     `yaml:"allow_tags_filter" reserved:"tags filters"`
}

// RPCConfig is the `rpc:` section: who answers rpc commands. The settings outside Namespaces serve methods without a
// namespace boundary.
//
// Source: centrifuge-protocol.md, 12; issue 4 item 7 for Subject.
type RPCConfig struct {
	// NamespaceBoundary ends the namespace part of a method. Default ":".
	NamespaceBoundary string `yaml:"namespace_boundary"`
	RPCOptions        `yaml:",inline"`
	Namespaces        []RPCNamespaceConfig `yaml:"namespaces"`
}

// RPCNamespaceConfig is one entry of the `namespaces:` of `rpc:`.
type RPCNamespaceConfig struct {
	// Name stands before the boundary of a method: 1 to 64 of a-z A-Z 0-9 _ - and dot.
	Name       string `yaml:"name"`
	RPCOptions `yaml:",inline"`
}

// RPCOptions name the answerer: a NATS service (Subject, a template with {method}, such as "svc.{method}") or a proxy.
type RPCOptions struct {
	Subject      string `yaml:"subject"`
	ProxyEnabled bool   `yaml:"proxy_enabled"`
	ProxyName    string `yaml:"proxy_name"`
}

// Environment is what Compile must know of the node around it.
type Environment struct {
	// ProxyNames are the proxies that are configured; "default" must be in it to be usable.
	ProxyNames []string
	// SubjectPrefix is the node's own subject prefix, which no mapped subject may touch. Default "throng".
	SubjectPrefix string
	// Insecure is the development mode: every client may subscribe, publish and read.
	Insecure bool
	// History, TagsFilter and StreamProxy say which reserved features this node serves.
	History     bool
	TagsFilter  bool
	StreamProxy bool
}

// DefaultConfig returns the values that hold where the configuration file says nothing.
func DefaultConfig() Config {
	return Config{
		MaxLength:         255,
		ChannelLimit:      128,
		PrivatePrefix:     "$",
		NamespaceBoundary: ":",
		UserBoundary:      "#",
		UserSeparator:     ",",
		HistoryMetaTTL:    720 * time.Hour,
	}
}

// DefaultRPCConfig returns the values that hold where the `rpc:` section says nothing.
func DefaultRPCConfig() RPCConfig { return RPCConfig{NamespaceBoundary: ":"} }
