// Package describe answers the requests that only read the image: every node
// that has one, controller or broker, answers them alike.
//
// It stands between package image and whoever serves a listener. Pure: an image
// and a request in, a response out. Who may ask is decided before, except where
// one request asks for many things.
package describe

import "kvorum/protocol/errors"

// Outcome is what a response says about one item: nil is success. Unlike
// errors.From it keeps a text that repeats the code's default.
func Outcome(err *errors.Error) (int16, *string) {
	switch {
	case err == nil:
		return int16(errors.None), nil
	case err.Message == "" || err.Code == errors.UnknownServerError:
		return int16(err.Code), nil
	}
	text := err.Message
	return int16(err.Code), &text
}
