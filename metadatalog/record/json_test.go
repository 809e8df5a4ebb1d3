package record_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// dumped reads what Apache's dump-log printed of a log: the JSON of each record
// by offset.
func dumped(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\| offset: (\d+) .* headerKeys: \[\] [A-Za-z]+:? (\{.*\})$`)
	records := map[string]string{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		if m := line.FindStringSubmatch(lines.Text()); m != nil {
			records[m[1]] = m[2]
		}
	}
	return records
}

// TestJSONIsApaches compares every record of the golden logs with what Apache's
// own tool prints for it.
func TestJSONIsApaches(t *testing.T) {
	for _, name := range []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old"} {
		want := dumped(t, "testdata/dump/"+name+".txt.gz")
		log, err := os.ReadFile("../../protocol/batch/testdata/golden/" + name + "/00000000000000000000.log")
		if err != nil {
			t.Fatal(err)
		}
		compared := 0
		for v, err := range batch.All(log) {
			if err != nil {
				t.Fatal(err)
			}
			for it := v.MetadataRecords(); it.Next(); {
				var got []byte
				if v.Control() {
					c, err := record.DecodeControl(it.Key(), it.Value())
					if err != nil {
						t.Fatal(err)
					}
					got = record.AppendControlJSON(nil, c)
				} else {
					m, err := record.Decode(it.Value())
					if err != nil {
						t.Fatal(err)
					}
					got = m.AppendJSON(nil)
				}
				if _, ok := want[fmt.Sprint(it.Offset())]; !ok && v.Control() {
					continue // 3.9 prints only the type of a LeaderChange
				}
				compared++
				compareJSON(t, fmt.Sprintf("%s at offset %d", name, it.Offset()), string(got), want[fmt.Sprint(it.Offset())])
			}
		}
		if compared < 300 || compared != len(want) {
			t.Errorf("%s: %d records compared, dump-log printed %d", name, compared, len(want))
		}
	}
}

func compareJSON(t *testing.T, where, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: %v\n%s", where, err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v in what Apache printed: %s", where, err, want)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s:\ngot  %s\nwant %s", where, got, want)
	}
}

func TestJSONOfOddValues(t *testing.T) {
	name := "a\"b<\n"
	for _, c := range []struct {
		m      record.Message
		hidden []string
		want   string
	}{
		{record.Message{Record: &record.ClientQuotaRecord{Key: "k", Value: math.NaN()}}, nil,
			`{"type":"CLIENT_QUOTA_RECORD","version":0,"data":{"entity":[],"key":"k","value":"NaN","remove":false}}`},
		{record.Message{Record: &record.ClientQuotaRecord{Key: "k", Value: math.Inf(1)}}, []string{"key"},
			`{"type":"CLIENT_QUOTA_RECORD","version":0,"data":{"entity":[],"key":"(redacted)","value":"+Inf","remove":false}}`},
		{record.Message{Record: &record.BeginTransactionRecord{Name: &name}}, nil,
			`{"type":"BEGIN_TRANSACTION_RECORD","version":0,"data":{"name":"a\"b<\n"}}`},
		{record.Message{Record: &record.UserScramCredentialRecord{Name: "u", Salt: []byte{1}}}, []string{"salt"},
			`{"type":"USER_SCRAM_CREDENTIAL_RECORD","version":0,"data":{"name":"u","mechanism":0,"salt":"(redacted)","storedKey":"","serverKey":"","iterations":0}}`},
		{record.Message{Record: &record.NoOpRecord{UnknownTags: []record.TaggedField{{Tag: 7, Data: []byte("x")}}}}, nil,
			`{"type":"NO_OP_RECORD","version":0,"data":{"unknownTaggedFields":[{"Tag":7,"Data":"eA=="}]}}`},
		{record.Message{Record: &record.PartitionChangeRecord{Leader: kafka.NoLeader, LeaderRecoveryState: -1, ISR: []kafka.BrokerID{}}, Version: 2}, nil,
			`{"type":"PARTITION_CHANGE_RECORD","version":2,"data":{"partitionId":0,"topicId":"AAAAAAAAAAAAAAAAAAAAAA","isr":[],"leader":-1}}`},
	} {
		if got := string(c.m.AppendJSON([]byte("x"), c.hidden...)); got != "x"+c.want {
			t.Errorf("got  %s\nwant %s", strings.TrimPrefix(got, "x"), c.want)
		}
	}
}
