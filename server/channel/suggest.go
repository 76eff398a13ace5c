package channel

import (
	"slices"
	"strings"
)

// formerNames are options of older Centrifugo versions and other spellings that no edit distance would lead to the right
// place.
var formerNames = map[string]string{
	"publish":                     "allow_publish_for_client",
	"subscribe_to_publish":        "allow_publish_for_subscriber",
	"anonymous":                   "allow_subscribe_for_anonymous",
	"position":                    "force_positioning or allow_positioning",
	"recover":                     "force_recovery or allow_recovery",
	"history_recover":             "force_recovery or allow_recovery",
	"history_lifetime":            "history_ttl",
	"proxy_subscribe":             "subscribe_proxy_enabled",
	"proxy_publish":               "publish_proxy_enabled",
	"proxy_sub_refresh":           "sub_refresh_proxy_enabled",
	"presence_disable_for_client": "allow_presence_for_client",
	"history_disable_for_client":  "allow_history_for_client",
	"protected":                   "allow_subscribe_for_client, which is off by default",
	"channel_max_length":          "max_length",
	"channel_private_prefix":      "private_prefix",
	"channel_namespace_boundary":  "namespace_boundary",
	"channel_user_boundary":       "user_boundary",
	"channel_user_separator":      "user_separator",
}

// didYouMean returns "; did you mean ...?" for the known word nearest to word, or a list of the known words where none
// is near, or nothing where there are none.
func didYouMean(word string, known []string) string {
	if former, ok := formerNames[word]; ok && contains(known, former) {
		return "; did you mean " + former + "?"
	}
	if len(known) == 0 {
		return ""
	}
	best, bestDistance := "", 1<<30
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if bestDistance <= max(2, len(best)/3) {
		return "; did you mean " + best + "?"
	}
	const most = 12
	if len(known) <= most {
		return "; known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
	}
	return "; the nearest known one is " + best
}

// contains tells whether the advice begins with a word that is known here: options of another section would mislead.
func contains(known []string, advice string) bool {
	word, _, _ := strings.Cut(advice, " ")
	return slices.Contains(known, strings.TrimSuffix(word, ","))
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b. Words longer
// than any option are far from all of them.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return 1 << 29
	}
	var before, last, row [longest + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
