package httpapi

import (
	"errors"
	"fmt"
	"time"

	"throng/server/auth"
	"throng/server/channel"
)

// Config is the `http_api:` section. Start from DefaultConfig and decode over it with channel.Decode.
type Config struct {
	// Disabled leaves the API's paths unserved. The node answers the surveys of others all the same.
	Disabled bool `yaml:"disabled"`
	// External serves the API on the public listener too. Default false: on the admin listener only.
	External bool `yaml:"external"`
	// Key opens the API. Without one, and without Insecure, every request is refused (401).
	Key auth.Secret `yaml:"key"`
	// Insecure lets everybody in, for development.
	Insecure bool `yaml:"insecure"`
	// ErrorMode is "" (errors come with status 200, in the body) or "transport" (HTTP statuses tell).
	ErrorMode string `yaml:"error_mode"`

	// MaxBodyBytes of a request. Default 4 MiB: a batch of 10,000 small publications. Larger ones are answered 413.
	MaxBodyBytes int64 `yaml:"max_body_bytes"`
	// MaxCommands of one batch or legacy request, and MaxChannels of one broadcast. Defaults 10,000 each.
	MaxCommands int `yaml:"max_commands"`
	MaxChannels int `yaml:"max_channels"`
	// MaxParallel commands of one parallel batch at once. Default 64.
	MaxParallel int `yaml:"max_parallel"`
	// MaxConcurrent requests at once; others are answered 503. Default 128: with MaxBodyBytes half a GiB at the very worst.
	MaxConcurrent int `yaml:"max_concurrent"`
	// SurveyTimeout is how long other nodes are waited for. Default 5s: shorter than API clients' usual 10 s.
	SurveyTimeout time.Duration `yaml:"survey_timeout"`
}

// transportMode is the ErrorMode, and the value of the header, that turns errors into HTTP statuses.
const transportMode = "transport"

// DefaultConfig has no key: nobody gets in.
func DefaultConfig() Config {
	return Config{
		MaxBodyBytes: 4 << 20, MaxCommands: 10_000, MaxChannels: 10_000, MaxParallel: 64, MaxConcurrent: 128,
		SurveyTimeout: 5 * time.Second,
	}
}

// Check returns every mistake of c as joined *channel.FieldError, with the path of each field.
func (c *Config) Check() error {
	var errs []error
	fail := func(field, value, fix string) {
		errs = append(errs, &channel.FieldError{Field: "http_api." + field, Value: value, Fix: fix})
	}
	if c.ErrorMode != "" && c.ErrorMode != transportMode {
		fail("error_mode", fmt.Sprintf("%.60q", c.ErrorMode), `must be "transport", or left out`)
	}
	if c.Insecure && c.Key != "" {
		fail("insecure", "true", "makes the key pointless: remove one of the two")
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_body_bytes", c.MaxBodyBytes}, {"max_commands", int64(c.MaxCommands)}, {"max_channels", int64(c.MaxChannels)},
		{"max_parallel", int64(c.MaxParallel)}, {"max_concurrent", int64(c.MaxConcurrent)},
	} {
		if f.value <= 0 {
			fail(f.name, fmt.Sprint(f.value), "must be a positive number")
		}
	}
	if c.SurveyTimeout <= 0 {
		fail("survey_timeout", c.SurveyTimeout.String(), `must be a positive duration, such as "5s"`)
	}
	return errors.Join(errs...)
}
