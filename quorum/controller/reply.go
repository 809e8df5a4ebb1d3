package controller

import (
	"math/rand/v2"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// bare is a wire error without a text: where Apache throws an exception with its
// code's default text, responses carry no text (ApiError.fromThrowable).
func bare(code errors.Code) *errors.Error { return &errors.Error{Code: code} }

// plain is a wire error that repeats the code's default text, which is what
// Apache answers where it names the code alone (new ApiError(error)).
func plain(code errors.Code) *errors.Error {
	return &errors.Error{Code: code, Message: code.Message()}
}

// report turns the outcome of a decision into a response's code and text; nil is
// success. Unlike errors.From it keeps a text that repeats the code's default,
// because Apache does so too in some places; see bare and plain.
func report(err *errors.Error) (int16, *string) { return describe.Outcome(err) }

// message wraps a record that has only ever had version 0.
func message(r record.Record) record.Message { return record.Message{Record: r} }

// randomUUID draws an id from the decision's randomness (Uuid.randomUuid).
func randomUUID(random *rand.Rand) kafka.UUID {
	id, err := kafka.RandomUUID(randomBytes{random})
	if err != nil {
		panic("controller: a source that cannot fail failed: " + err.Error())
	}
	return id
}

// randomBytes reads from a generator as from an endless file.
type randomBytes struct{ random *rand.Rand }

func (r randomBytes) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		bits := r.random.Uint64()
		for j := i; j < min(i+8, len(p)); j++ {
			p[j] = byte(bits)
			bits >>= 8
		}
	}
	return len(p), nil
}
