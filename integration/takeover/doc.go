// Package takeover starts kvorum on log directories that Apache's broker wrote, and
// Apache's broker on what kvorum left there: kvorum's storage by itself, and whole
// brokers that take turns in one cluster. Every record has to be served by both,
// and Apache's dump-log must find nothing wrong.
package takeover
