package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// DumpFormat is how a dump is written.
type DumpFormat int

// The formats: lines for people with one for each batch and record, or one JSON
// object a line for each record.
const (
	DumpText DumpFormat = iota
	DumpJSON
)

// Dump writes the batches and records from offset from on and below to. Records
// have the names of Kafka's schemas and dump-log; secrets (SCRAM keys, delegation
// tokens, sensitive configs) are replaced by record.Redacted. What came before an
// error has been written.
func (m *Metadata) Dump(w io.Writer, format DumpFormat, from, to kafka.Offset) error {
	d := dump{w: w, format: format, from: from, to: to}
	for v, err := range m.Batches(from, to) {
		if err == nil {
			err = d.batch(v)
		}
		if err != nil {
			return fmt.Errorf("dump: %w", err)
		}
		d.next = v.EndOffset()
	}
	return nil
}

type dump struct {
	w        io.Writer
	format   DumpFormat
	from, to kafka.Offset
	next     kafka.Offset
	line     []byte
}

func (d *dump) batch(v batch.View) error {
	if d.format == DumpText {
		_, err := fmt.Fprintf(d.w, "baseOffset: %d lastOffset: %d count: %d epoch: %d isControl: %t CreateTime: %d size: %d crc: %d\n",
			v.BaseOffset(), v.LastOffset(), v.Count(), v.Epoch(), v.Control(), v.MaxTimestamp(), v.Size(), v.CRC())
		if err != nil {
			return err
		}
	}
	it := v.MetadataRecords()
	for it.Next() {
		if it.Offset() < d.from || it.Offset() >= d.to {
			continue
		}
		text, err := recordJSON(v.Control(), it.Key(), it.Value())
		if err == nil {
			err = d.record(v, it.Offset(), text)
		}
		if err != nil {
			return fmt.Errorf("record at offset %d: %w", it.Offset(), err)
		}
	}
	return it.Err()
}

// record writes one line; text is the record as a JSON object.
func (d *dump) record(v batch.View, at kafka.Offset, text []byte) error {
	d.line = d.line[:0]
	if d.format == DumpJSON {
		d.line = fmt.Appendf(d.line, `{"offset":%d,"batchBaseOffset":%d,"epoch":%d,"timestamp":%d,"isControl":%t,`, at, v.BaseOffset(), v.Epoch(), v.MaxTimestamp(), v.Control())
		d.line = append(d.line, text[1:]...)
	} else {
		d.line = fmt.Appendf(d.line, "| offset: %d %s", at, text)
	}
	_, err := d.w.Write(append(d.line, '\n'))
	return err
}

// recordJSON is a record as {"type":...,"version":...,"data":...}; a control
// record has the name of its schema as its type.
func recordJSON(control bool, key, value []byte) ([]byte, error) {
	if control {
		c, err := record.DecodeControl(key, value)
		if err != nil {
			return nil, err
		}
		text := fmt.Appendf(nil, `{"type":%q,"version":0,"data":`, c.RecordName())
		return append(record.AppendControlJSON(text, c), '}'), nil
	}
	m, err := record.Decode(value)
	if err != nil {
		return nil, err
	}
	return m.AppendJSON(nil, secretFields(m.Record)...), nil
}

// secretFields names the fields of a record that are not shown.
func secretFields(r record.Record) []string {
	switch r := r.(type) {
	case *record.UserScramCredentialRecord:
		return []string{"salt", "storedKey", "serverKey"}
	case *record.DelegationTokenRecord, *record.RemoveDelegationTokenRecord:
		return []string{"tokenId"}
	case *record.ConfigRecord:
		if r.Value != nil && secretConfig(image.ResourceType(r.ResourceType), r.Name) {
			return []string{"value"}
		}
	}
	return nil
}

// configScopes are where the keys of a resource type are found.
var configScopes = map[image.ResourceType]config.Scope{
	image.ResourceTopic:         config.ScopeTopic,
	image.ResourceBroker:        config.ScopeBroker,
	image.ResourceClientMetrics: config.ScopeClientMetrics,
	image.ResourceGroup:         config.ScopeGroup,
}

// secretConfig reports whether a config's value is hidden. A key that is not
// known may be anything, also a password (KafkaConfigSchema.isSensitive).
func secretConfig(resource image.ResourceType, name string) bool {
	scope, ok := configScopes[resource]
	if !ok {
		return true
	}
	key, _ := config.Lookup(scope, name)
	return key == nil || key.Sensitive()
}

// JSONText is text as a JSON string, and itself where it is a JSON object
// already.
func JSONText(text string) string {
	if strings.HasPrefix(text, "{") && json.Valid([]byte(text)) {
		return text
	}
	return plainJSON(text)
}

// plainJSON is a value in JSON on one line.
func plainJSON(value any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return strconv.Quote(fmt.Sprint(value))
	}
	return string(bytes.TrimSpace(out.Bytes()))
}
