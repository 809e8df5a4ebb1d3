//go:build race

package batch

// raceEnabled is set under the race detector, which makes append(s, make(...)...)
// allocate twice.
const raceEnabled = true
