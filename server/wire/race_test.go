//go:build race

package wire

// sync.Pool drops values at random under the race detector, so budgets of paths
// that use a pool are only measured without it.
const raceEnabled = true
