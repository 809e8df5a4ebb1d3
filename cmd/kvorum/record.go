package main

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatHelp is the part of the record format that produce and consume share.
const formatHelp = "%t topic, %p partition, %o offset, %k key, %v value, %h{...} headers (%k and %v inside),\n" +
	"%d timestamp, %T %K %V %H their lengths or number, \\n \\t \\xNN, %% for a percent sign;\n" +
	"%v{hex}, %v{base64} and %K{big32} change how a text or a number is written"

// jsonRecord is a record as one JSON object. A key or value that is no UTF-8 is in
// base64 under another name; null is null.
type jsonRecord struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"` // milliseconds since 1970
	Key         *string      `json:"key,omitempty"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

func appendJSON(b []byte, r *kgo.Record) ([]byte, error) {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = textOrBytes(r.Key)
	j.Value, j.ValueBase64 = textOrBytes(r.Value)
	for _, h := range r.Headers {
		header := jsonHeader{Key: h.Key}
		header.Value, header.ValueBase64 = textOrBytes(h.Value)
		j.Headers = append(j.Headers, header)
	}
	text, err := json.Marshal(j)
	return append(append(b, text...), '\n'), err
}

func textOrBytes(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		text := string(b)
		return &text, nil
	}
	return nil, b
}

// recordFormat writes records as a layout says, or as JSON.
func recordFormat(flag, layout string) (func([]byte, *kgo.FetchPartition, *kgo.Record) ([]byte, error), error) {
	if layout == jsonForm {
		return func(b []byte, _ *kgo.FetchPartition, r *kgo.Record) ([]byte, error) { return appendJSON(b, r) }, nil
	}
	f, err := kgo.NewRecordFormatter(layout)
	if err != nil {
		return nil, usageError(fmt.Sprintf("%s: %v", flag, err))
	}
	return func(b []byte, p *kgo.FetchPartition, r *kgo.Record) ([]byte, error) {
		return f.AppendPartitionRecord(b, p, r), nil
	}, nil
}
