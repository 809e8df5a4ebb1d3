package answers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// patience bounds one answer, and the wait for what takes a moment.
const patience = 20 * time.Second

// asker is a client of one node that writes down what it is answered.
type asker struct {
	*testing.T
	address string
	conn    net.Conn
	said    strings.Builder
	dirs    []string // log.dirs
	hide    []string // pairs of a text and what stands for it
	seen    map[string]bool
	// topicIDs are the ids of the topics by name.
	topicIDs map[string][16]byte
}

// send asks once. io.EOF and the like say that the connection was closed instead.
func (a *asker) send(version int16, req kmsg.Request) (kmsg.Response, error) {
	a.Helper()
	if a.conn == nil {
		conn, err := net.Dial("tcp", a.address)
		if err != nil {
			a.Fatal(err)
		}
		a.conn = conn
	}
	if err := a.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		a.Fatal(err)
	}
	req.SetVersion(version)
	client := "answers"
	if _, err := a.conn.Write(protocol.AppendRequest(nil, 1, &client, req)); err != nil {
		return nil, a.closed(err)
	}
	if p, ok := req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
		return nil, a.closed(errNoAnswer)
	}
	var size [4]byte
	if _, err := io.ReadFull(a.conn, size[:]); err != nil {
		return nil, a.closed(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(a.conn, frame); err != nil {
		return nil, a.closed(err)
	}
	resp := req.ResponseKind()
	if _, err := protocol.ReadResponse(frame, resp); err != nil {
		a.Fatalf("the answer to %s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return resp, nil
}

var metadataLog = regexp.MustCompile(`(LeaderEpoch|HighWatermark): \d+`)

// errNoAnswer is what acks=0 has for an answer.
var errNoAnswer = errors.New("no answer")

// closed drops the connection.
func (a *asker) closed(err error) error {
	a.conn.Close()
	a.conn = nil
	return err
}

// step asks at each version and writes down the answers.
func (a *asker) step(name string, versions []int16, question func() kmsg.Request) kmsg.Response {
	a.Helper()
	var last kmsg.Response
	for _, v := range versions {
		title := fmt.Sprintf("%s, v%d", name, v)
		if a.seen[title] {
			a.Fatalf("two steps are called %q", title)
		}
		a.seen[title] = true
		req := question()
		resp, err := a.send(v, req)
		fmt.Fprintf(&a.said, "# %s\n", title)
		if err != nil {
			fmt.Fprintf(&a.said, "connection closed\n")
			continue
		}
		a.said.WriteString(dump(resp, a.hidden))
		last = resp
	}
	return last
}

// hidden replaces what is known to differ between two nodes.
func (a *asker) hidden(text string) string {
	text = strings.NewReplacer(a.hide...).Replace(text)
	if strings.Contains(text, "__cluster_metadata") { // its epochs and offsets are each cluster's own
		text = metadataLog.ReplaceAllString(text, "$1: <n>")
	}
	return text
}

// until asks until the answer is as wished; nothing is written down.
func (a *asker) until(what string, version int16, question func() kmsg.Request, done func(kmsg.Response) bool) {
	a.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := a.send(version, question())
		if err == nil && done(resp) {
			return
		}
		if time.Now().After(deadline) {
			a.Fatalf("waited in vain for %s: %+v, %v", what, resp, err)
		}
	}
}

// ask asks without writing the answer down.
func (a *asker) ask(version int16, question func() kmsg.Request) kmsg.Response {
	a.Helper()
	resp, err := a.send(version, question())
	if err != nil {
		a.Fatal(err)
	}
	return resp
}

// note writes down what is the same on both makes of an answer whose rest is not.
func (a *asker) note(name string, lines []string) {
	for i := range lines {
		lines[i] = a.hidden(lines[i])
	}
	fmt.Fprintf(&a.said, "# %s\n  %s\n", name, strings.Join(lines, "\n  "))
}
