// Package errors is the one table of Kafka's wire errors: every error code that
// kvorum puts into a response comes from here. It is a leaf of the wire edge:
// decisions in quorum/controller and handlers return an *Error, and whoever
// builds the response turns it into a code and a message with From.
//
// Operating errors (a full disk, a closed connection) are no wire errors: they
// stay ordinary wrapped errors, and From reports them to a client as
// UNKNOWN_SERVER_ERROR without their text, as Apache does.
package errors

import (
	"errors"
	"fmt"
	"strconv"
)

// Code is a Kafka error code as it stands in responses, -1 to 133. 0 is NONE.
type Code int16

// Known reports whether c is in the table.
func (c Code) Known() bool { return c >= firstCode && c <= lastCode }

// String returns Kafka's name, for example NOT_CONTROLLER.
func (c Code) String() string {
	if !c.Known() {
		return "ERROR_CODE_" + strconv.Itoa(int(c))
	}
	return table[c-firstCode].name
}

// Message returns Apache's default text; it is empty for NONE.
func (c Code) Message() string {
	if !c.Known() {
		return table[0].message
	}
	return table[c-firstCode].message
}

// Retriable reports whether a client may send the same request again and hope
// for better (RetriableException of the Java client).
func (c Code) Retriable() bool { return c.Known() && table[c-firstCode].retriable }

// Err returns c with its default text as an error; nil for NONE.
func (c Code) Err() error {
	if c == None {
		return nil
	}
	return &Error{Code: c, Message: c.Message()}
}

// Error is a wire error: what a client is told.
type Error struct {
	Code    Code
	Message string // goes to the client as it is; never a secret
}

// New makes a wire error with a text of its own. NONE is no error, so asking
// for one is a programmer's mistake and panics.
func New(code Code, format string, args ...any) *Error {
	if code == None {
		panic(fmt.Sprintf("protocol/errors: New(NONE, %q)", format))
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns "NAME: message".
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Is makes errors.Is match wire errors by code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf returns the code of err: NONE for nil, the code of the wire error that
// err is or wraps, else UNKNOWN_SERVER_ERROR.
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return UnknownServerError
}

// From returns what a response says about err: the code, and the text for a
// nullable ErrorMessage field. The text is nil where it would only repeat the
// code's default or could leak the server's insides (ApiError.fromThrowable:
// UNKNOWN_SERVER_ERROR never carries a text).
func From(err error) (Code, *string) {
	if err == nil {
		return None, nil
	}
	var e *Error
	if !errors.As(err, &e) || e.Code == UnknownServerError {
		return UnknownServerError, nil
	}
	if e.Message == "" || e.Message == e.Code.Message() {
		return e.Code, nil
	}
	return e.Code, &e.Message
}
