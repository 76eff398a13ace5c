package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

var (
	errDenied = errors.New("not allowed")
	errNobody = errors.New("nobody answers")
	errSilent = errors.New("no answer in time")
)

// ask sends a request and returns the answer's bytes. Errors: errDenied, errNobody, errSilent, or of the link.
func (x *examination) ask(ctx context.Context, subject string, body []byte) ([]byte, error) {
	m, err := x.request(ctx, subject, body)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (x *examination) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	inbox := x.conn.NewRespInbox()
	sub, err := x.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the link may be gone
	if err := x.conn.PublishRequest(subject, inbox, body); err != nil {
		return nil, err
	}
	if x.refused("Publish", subject) {
		return nil, errDenied
	}
	ctx, cancel := context.WithTimeout(ctx, x.cfg.AskTimeout)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNobody
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errSilent
	case err != nil:
		return nil, err
	case len(m.Data) == 0 && m.Header.Get("Status") == "503":
		return nil, errNobody
	}
	return m, nil
}

// apiError is JetStream's own.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error codes of nats-server's errors.json.
const (
	codeNotEnabledAccount = 10039
	codeNotEnabled        = 10076
	codeUnavailable       = 10008
	codeStreamNotFound    = 10059
	codeNoResources       = 10023
	codeMemoryExceeded    = 10028
	codeStorageExceeded   = 10047
	codeNoPeers           = 10005
	codeStoreNotMade      = 10049
	codeNotClustered      = 10074
	codeStoreFailed       = 10077
)

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// api asks JetStream and fills into. Errors: those of ask, or *apiError.
func (x *examination) api(ctx context.Context, what string, body []byte, into any) error {
	raw, err := x.ask(ctx, "$JS.API."+what, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(raw, &failed); err != nil {
		return fmt.Errorf("answer to %s: %w", what, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}
