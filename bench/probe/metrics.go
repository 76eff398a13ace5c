package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Scraper reads a few families of a Prometheus text endpoint.
type Scraper struct{ URL string }

// scrapeTimeout bounds one scrape: a loaded server answers late, not never.
const scrapeTimeout = 5 * time.Second

// wantMetric says which families are worth keeping: the Go runtime's and the
// server's own. Histogram buckets are not.
func wantMetric(name string) bool {
	return (strings.HasPrefix(name, "throng_") && !strings.Contains(name, "_bucket")) ||
		name == "go_goroutines" || name == "go_threads" ||
		name == "go_memstats_heap_alloc_bytes" || name == "go_memstats_heap_inuse_bytes" ||
		name == "go_memstats_heap_objects" || name == "go_memstats_next_gc_bytes" ||
		name == "go_memstats_stack_inuse_bytes" || name == "process_open_fds"
}

// Scrape reads the endpoint; samples of one name are kept apart by their labels.
func (s *Scraper) Scrape() (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	req.Close = true // no idle connection that would count as the server's
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s answers %s", s.URL, resp.Status)
	}
	return parseMetrics(resp.Body)
}

// CollectGarbage asks a Go server for a heap profile after a collection, beside the
// metrics (net/http/pprof, heap?gc=1), and throws it away. A server without it
// answers an error, which changes nothing.
func (s *Scraper) CollectGarbage() error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	u.Path, u.RawQuery = "/debug/pprof/heap", "gc=1"
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	out := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:cut], "{")
		if !wantMetric(name) {
			continue
		}
		if v, err := strconv.ParseFloat(line[cut+1:], 64); err == nil {
			out[line[:cut]] = v
		}
	}
	return out, lines.Err()
}
