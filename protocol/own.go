package protocol

import (
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys of kvorum's own requests.
const (
	KeyDescribeMigration = FirstOwnKey + iota
	KeyAlterMigration
)

// own are the rows of kvorum's own requests, by key from FirstOwnKey on. They are
// shaped and checked as Kafka's are.
var own = [...]API{
	{Key: KeyDescribeMigration, Name: "DescribeMigration", Listeners: controllers, FrameLimit: FramePreAuth, OnController: describe},
	{Key: KeyAlterMigration, Name: "AlterMigration", Listeners: controllers, FrameLimit: FramePreAuth, OnController: alter},
}

// ownShapes are their shapes, as in shapes.txt.
const ownShapes = `20000 0-0 T
20001 0-0 14T
`

// NewRequest makes the request of a key, Kafka's or our own; nil if there is none.
func NewRequest(k Key) kmsg.Request {
	switch k {
	case KeyDescribeMigration:
		return new(DescribeMigrationRequest)
	case KeyAlterMigration:
		return new(AlterMigrationRequest)
	}
	return kmsg.RequestForKey(int16(k))
}

// ownMessage is what every one of our own requests and responses is: flexible from
// its first version on, of which there is one.
type ownMessage struct{ Version int16 }

// MaxVersion implements kmsg.Request and kmsg.Response.
func (*ownMessage) MaxVersion() int16 { return 0 }

// SetVersion implements kmsg.Request and kmsg.Response.
func (m *ownMessage) SetVersion(v int16) { m.Version = v }

// GetVersion implements kmsg.Request and kmsg.Response.
func (m *ownMessage) GetVersion() int16 { return m.Version }

// IsFlexible implements kmsg.Request and kmsg.Response.
func (*ownMessage) IsFlexible() bool { return true }

// DescribeMigrationRequest asks a controller where its part of the migration from
// ZooKeeper stands. Any controller answers; only the active one has a part.
type DescribeMigrationRequest struct{ ownMessage }

// Key implements kmsg.Request.
func (*DescribeMigrationRequest) Key() int16 { return int16(KeyDescribeMigration) }

// ResponseKind implements kmsg.Request.
func (r *DescribeMigrationRequest) ResponseKind() kmsg.Response {
	return &DescribeMigrationResponse{ownMessage: r.ownMessage}
}

// AppendTo implements kmsg.Request.
func (*DescribeMigrationRequest) AppendTo(dst []byte) []byte { return append(dst, 0) }

// ReadFrom implements kmsg.Request.
func (*DescribeMigrationRequest) ReadFrom(src []byte) error {
	b := kbin.Reader{Src: src}
	skipTags(&b)
	return b.Complete()
}

// DescribeMigrationResponse answers it.
type DescribeMigrationResponse struct {
	ownMessage
	ErrorCode    int16
	ErrorMessage *string
	// Progress is a JSON document (package migration, Progress), empty with an error.
	Progress []byte
}

// Key implements kmsg.Response.
func (*DescribeMigrationResponse) Key() int16 { return int16(KeyDescribeMigration) }

// RequestKind implements kmsg.Response.
func (r *DescribeMigrationResponse) RequestKind() kmsg.Request {
	return &DescribeMigrationRequest{ownMessage: r.ownMessage}
}

// AppendTo implements kmsg.Response.
func (r *DescribeMigrationResponse) AppendTo(dst []byte) []byte {
	dst = kbin.AppendCompactNullableString(kbin.AppendInt16(dst, r.ErrorCode), r.ErrorMessage)
	return append(kbin.AppendCompactBytes(dst, r.Progress), 0)
}

// ReadFrom implements kmsg.Response. Progress shares memory with src.
func (r *DescribeMigrationResponse) ReadFrom(src []byte) error {
	b := kbin.Reader{Src: src}
	r.ErrorCode, r.ErrorMessage, r.Progress = b.Int16(), b.CompactNullableString(), b.CompactBytes()
	skipTags(&b)
	return b.Complete()
}

// MigrationAction is what AlterMigration asks for.
type MigrationAction int8

// The actions.
const (
	ResumeMigration   MigrationAction = iota // look again where a stopped migration stands
	FinalizeMigration                        // end it; there is no way back
	RollBackMigration                        // give ZooKeeper back to its brokers
	StartMigration                           // begin it, where that waits for a person
)

// AlterMigrationRequest asks the active controller to do something with the migration.
type AlterMigrationRequest struct {
	ownMessage
	Action MigrationAction
	// TimeoutMillis is how long the answer may take. What has begun goes on.
	TimeoutMillis int32
}

// Key implements kmsg.Request.
func (*AlterMigrationRequest) Key() int16 { return int16(KeyAlterMigration) }

// Timeout implements kmsg.TimeoutRequest.
func (r *AlterMigrationRequest) Timeout() int32 { return r.TimeoutMillis }

// ResponseKind implements kmsg.Request.
func (r *AlterMigrationRequest) ResponseKind() kmsg.Response {
	return &AlterMigrationResponse{ownMessage: r.ownMessage}
}

// AppendTo implements kmsg.Request.
func (r *AlterMigrationRequest) AppendTo(dst []byte) []byte {
	return append(kbin.AppendInt32(kbin.AppendInt8(dst, int8(r.Action)), r.TimeoutMillis), 0)
}

// ReadFrom implements kmsg.Request.
func (r *AlterMigrationRequest) ReadFrom(src []byte) error {
	b := kbin.Reader{Src: src}
	r.Action, r.TimeoutMillis = MigrationAction(b.Int8()), b.Int32()
	skipTags(&b)
	return b.Complete()
}

// AlterMigrationResponse answers it, when it is done.
type AlterMigrationResponse struct {
	ownMessage
	ErrorCode    int16
	ErrorMessage *string
}

// Key implements kmsg.Response.
func (*AlterMigrationResponse) Key() int16 { return int16(KeyAlterMigration) }

// RequestKind implements kmsg.Response.
func (r *AlterMigrationResponse) RequestKind() kmsg.Request {
	return &AlterMigrationRequest{ownMessage: r.ownMessage}
}

// AppendTo implements kmsg.Response.
func (r *AlterMigrationResponse) AppendTo(dst []byte) []byte {
	return append(kbin.AppendCompactNullableString(kbin.AppendInt16(dst, r.ErrorCode), r.ErrorMessage), 0)
}

// ReadFrom implements kmsg.Response.
func (r *AlterMigrationResponse) ReadFrom(src []byte) error {
	b := kbin.Reader{Src: src}
	r.ErrorCode, r.ErrorMessage = b.Int16(), b.CompactNullableString()
	skipTags(&b)
	return b.Complete()
}

// skipTags passes over the tagged fields of a later version. A request's were checked
// to be there (checker); the count of a response's is not believed.
func skipTags(b *kbin.Reader) {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		b.Uvarint()
		b.Span(int(b.Uvarint()))
	}
}
