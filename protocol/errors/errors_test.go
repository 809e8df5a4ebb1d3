package errors

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// testdata/apache-4.3.1.tsv was printed by Errors.values() of Apache's own jar:
// code, name, instanceof RetriableException, message.
func TestTableIsApaches(t *testing.T) {
	data, err := os.ReadFile("testdata/apache-4.3.1.tsv")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) != len(table) {
		t.Fatalf("table has %d codes, Apache %d", len(table), len(lines))
	}
	for _, line := range lines {
		f := strings.Split(line, "\t")
		n, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		c := Code(n)
		if c.String() != f[1] || strconv.FormatBool(c.Retriable()) != f[2] || c.Message() != f[3] {
			t.Errorf("code %d: %s %v %q, Apache has %v", n, c, c.Retriable(), c.Message(), f[1:])
		}
	}
}

// franz-go's table is a second opinion. Where it differs, Apache 4.3.1 wins.
func TestTableAgainstKerr(t *testing.T) {
	renamed := map[Code]string{NotLeaderOrFollower: "NOT_LEADER_FOR_PARTITION"}
	otherRetry := map[Code]bool{
		BrokerNotAvailable: true, ConcurrentTransactions: true,
		ShareSessionNotFound: true, InvalidShareSessionEpoch: true,
	}
	for c := firstCode; c <= lastCode; c++ {
		if c == None {
			continue
		}
		e := kerr.TypedErrorForCode(int16(c))
		if e == nil || e.Code != int16(c) {
			t.Fatalf("kerr does not know %d %s", c, c)
		}
		if e.Message != c.String() && e.Message != renamed[c] {
			t.Errorf("%d is %s, kerr has %s", c, c, e.Message)
		}
		if (e.Retriable != c.Retriable()) != otherRetry[c] {
			t.Errorf("%s retriable %v, kerr %v", c, c.Retriable(), e.Retriable)
		}
	}
}

func TestFrom(t *testing.T) {
	for _, tc := range []struct {
		err     error
		code    Code
		message string // "" is nil
	}{
		{nil, None, ""},
		{NotController.Err(), NotController, ""},
		{New(InvalidConfig, "no key %q", "a"), InvalidConfig, `no key "a"`},
		{fmt.Errorf("apply: %w", New(InvalidRequest, "x")), InvalidRequest, "x"},
		{New(UnknownServerError, "secret"), UnknownServerError, ""},
		{errors.New("disk full at /secret"), UnknownServerError, ""},
	} {
		code, msg := From(tc.err)
		got := ""
		if msg != nil {
			got = *msg
		}
		if code != tc.code || got != tc.message || CodeOf(tc.err) != tc.code {
			t.Errorf("From(%v) = %s, %q", tc.err, code, got)
		}
	}
	if None.Err() != nil {
		t.Error("NONE is an error")
	}
	if !errors.Is(New(NotController, "x"), NotController.Err()) || errors.Is(New(NotController, "x"), StaleBrokerEpoch.Err()) {
		t.Error("errors.Is does not go by the code")
	}
	if s := Code(9999).String(); s != "ERROR_CODE_9999" || Code(9999).Known() || Code(9999).Retriable() {
		t.Error("unknown code:", s)
	}
	if got := New(NotController, "node %d leads", 2).Error(); got != "NOT_CONTROLLER: node 2 leads" {
		t.Error(got)
	}
}
