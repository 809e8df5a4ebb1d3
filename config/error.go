package config

import "fmt"

// Kind is the wire error that a refused configuration is answered with.
type Kind uint8

const (
	// InvalidConfig is INVALID_CONFIG (40): ConfigException and
	// InvalidConfigurationException.
	InvalidConfig Kind = iota
	// InvalidRequest is INVALID_REQUEST (42).
	InvalidRequest
)

// Error is a refused configuration; its text is meant for the client that sent
// it and is Apache's.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string { return e.Text }

func invalid(format string, args ...any) *Error {
	return &Error{Kind: InvalidConfig, Text: fmt.Sprintf(format, args...)}
}

// invalidValue is Apache's ConfigException(name, value, message).
func invalidValue(name, value, message string) *Error {
	return invalid("Invalid value %s for configuration %s: %s", value, name, message)
}
