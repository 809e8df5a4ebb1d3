// Package takeover starts kvorum's storage on log directories that Apache's
// broker wrote, and Apache's broker on what kvorum left there: every record has to
// be served by both, and Apache's dump-log must find nothing wrong.
package takeover
