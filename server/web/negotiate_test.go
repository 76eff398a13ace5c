package web

import "testing"

func TestGzipIsForThoseWhoWantIt(t *testing.T) {
	wants := map[string]bool{
		"":                              false,
		"gzip":                          true,
		"GZIP":                          true,
		"x-gzip":                        true,
		"gzip, deflate, br, zstd":       true,
		"br;q=1.0, gzip;q=0.8, *;q=0.1": true,
		"gzip;q=0":                      false,
		"gzip;q=0.000":                  false,
		"gzip; q=0.001":                 true,
		"gzip ; Q=0":                    false,
		"identity":                      false,
		"identity;q=1, gzip;q=0.5":      false,
		"identity;q=0.5, gzip;q=0.5":    true,
		"identity;q=0, gzip;q=0":        false,
		"*":                             true,
		"*;q=0":                         false,
		"*, gzip;q=0":                   false,
		"gzip, *;q=0":                   true,
		"br":                            false,
		"gzipped":                       false,
		"gzip;q=2":                      false,
		"gzip;q=-1":                     false,
		"gzip;q=NaN":                    false,
		"gzip;q=x":                      false,
		"gzip;level=9":                  true,
		",,gzip,,":                      true,
		";;,;q":                         false,
	}
	for field, want := range wants {
		if got := prefersGzip([]string{field}); got != want {
			t.Errorf("Accept-Encoding %q: %v, want %v", field, got, want)
		}
	}
	if prefersGzip(nil) {
		t.Error("no Accept-Encoding gets gzip")
	}
	if !prefersGzip([]string{"br", "gzip"}) {
		t.Error("a second Accept-Encoding field is not read")
	}
}

func TestTagsAreFoundInLists(t *testing.T) {
	const tag = `"abc"`
	listed := map[string]bool{
		"":                false,
		"*":               true,
		" * ":             true,
		`"abc"`:           true,
		`W/"abc"`:         true,
		`w/"abc"`:         false,
		`"x", "abc"`:      true,
		`"x","abc","y"`:   true,
		`"x" , W/"abc"`:   true,
		`"abcd"`:          false,
		`abc`:             false,
		`"abc`:            false,
		`"ABC"`:           false,
		`"abc-gzip"`:      false,
		`"a, \"abc\", b"`: false,
		`W/W/"abc"`:       false,
		`"x", *`:          false,
	}
	for field, want := range listed {
		if got := tagListed([]string{field}, tag); got != want {
			t.Errorf("If-None-Match %s: %v, want %v", field, got, want)
		}
	}
	if tagListed(nil, tag) {
		t.Error("no If-None-Match matches")
	}
	if !tagListed([]string{`"x"`, tag}, tag) {
		t.Error("a second If-None-Match field is not read")
	}
}

func FuzzNegotiation(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", `W/"abc", "x"`)
	f.Fuzz(func(t *testing.T, accept, tags string) {
		prefersGzip([]string{accept})
		if !tagListed([]string{tags, `"abc"`}, `"abc"`) {
			t.Error("a field of rubbish hides the next one")
		}
	})
}
