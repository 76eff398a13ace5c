package scenario

import (
	"context"
	"fmt"
	"time"

	"throng/bench/result"
)

// ProfileLoads are the loads a profiling session can run.
var ProfileLoads = []string{"fanout", "idle", "storm", "pgo"}

// profileStop is how long a node may take to end and write its profile.
const profileStop = 60 * time.Second

// ProfileSession starts the server of opts, which profiles itself, takes it through
// the named load for about d, and ends it in order, so that the profile is written.
func ProfileSession(ctx context.Context, opts *Options, ui UI, kind string, d time.Duration) (*result.Run, error) {
	s, err := Begin(ctx, opts, ui, nil)
	if err != nil {
		return nil, err
	}
	defer s.End()
	if err := s.profileLoad(ctx, kind, d); err != nil {
		return nil, err
	}
	s.fleet.Close()
	s.fleet = nil
	srv := s.servers[0]
	if err := srv.Interrupt(); err != nil {
		return nil, fmt.Errorf("end the server: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, profileStop)
	defer cancel()
	if err := srv.Wait(wait); err != nil {
		return nil, fmt.Errorf("the server did not end well: %w\n%s", err, srv.Output())
	}
	return &s.Run, nil
}

func (s *Session) profileLoad(ctx context.Context, kind string, d time.Duration) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	switch kind {
	case "idle":
		return s.beats(ctx, max(d*4/9, 500*time.Millisecond))
	case "storm":
		return s.stormsFor(ctx, d)
	case "pgo": // what a node does in life: all of it
		if err := s.stormsFor(ctx, d/4); err != nil {
			return err
		}
		if err := s.beats(ctx, max(d/9, 500*time.Millisecond)); err != nil {
			return err
		}
		return s.traffic(ctx, FanoutSpec{Window: []int{1, 8}, Rate: 5, For: d / 4, WarmUp: time.Second})
	}
	return s.traffic(ctx, FanoutSpec{Window: []int{1, 8}, For: d / 2})
}

func (s *Session) stormsFor(ctx context.Context, d time.Duration) error {
	begin := time.Now()
	for n := 1; time.Since(begin) < d; n++ {
		if _, err := s.Storm(ctx, fmt.Sprintf("storm %d", n), 0); err != nil {
			return err
		}
	}
	return nil
}
