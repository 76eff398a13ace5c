package natstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The monitoring pages need no credentials, and ask one server only.

var pages = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}

func (s *Server) page(path string) ([]byte, error) {
	answer, err := pages.Get("http://" + s.http + path)
	if err != nil {
		return nil, fmt.Errorf("natstest: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("natstest: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("natstest: %s: %s %s", path, answer.Status, raw)
	}
	return raw, nil
}

// healthy is nil when the server says so itself: it has a meta leader, and what it stores is current.
func (s *Server) healthy() error {
	_, err := s.page("/healthz")
	return err
}

// jsz is the part of /jsz that is looked at.
type jsz struct {
	Meta struct {
		Leader string `json:"leader"`
		Size   int    `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []streamDetail `json:"stream_detail"`
	} `json:"account_details"`
}

type streamDetail struct {
	Name    string `json:"name"`
	Cluster struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
		} `json:"replicas"`
	} `json:"cluster"`
	State struct {
		Messages uint64 `json:"messages"`
		Last     uint64 `json:"last_seq"`
	} `json:"state"`
}

func (s *Server) jetStream() (*jsz, error) {
	raw, err := s.page("/jsz?accounts=true&streams=true")
	if err != nil {
		return nil, err
	}
	var j jsz
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("natstest: /jsz: %w", err)
	}
	return &j, nil
}

// stream finds a stream on this server, nil when it has none of that name or does not answer.
func (s *Server) stream(name string) *streamDetail {
	if !s.Answering() {
		return nil
	}
	j, err := s.jetStream()
	if err != nil {
		return nil
	}
	for _, a := range j.Accounts {
		for i := range a.Streams {
			if a.Streams[i].Name == name {
				return &a.Streams[i]
			}
		}
	}
	return nil
}
