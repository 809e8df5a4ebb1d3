package controller

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// quotaChange is an entry that sets a key, or removes it with NaN.
func quotaChange(key string, value float64, entity ...string) kmsg.AlterClientQuotasRequestEntry {
	e := quotaEntry(entity...)
	op := kmsg.AlterClientQuotasRequestEntryOp{Key: key, Value: value}
	if value == removeQuota {
		op.Value, op.Remove = 0, true
	}
	e.Ops = append(e.Ops, op)
	return e
}

const removeQuota = -12345

func (c *cluster) alterQuotas(entries ...kmsg.AlterClientQuotasRequestEntry) (Decision, *kmsg.AlterClientQuotasResponse) {
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Version, req.Entries = 1, entries
	return AlterClientQuotas(c.in, req)
}

func TestAlterClientQuotas(t *testing.T) {
	for _, tc := range []struct {
		entry   kmsg.AlterClientQuotasRequestEntry
		text    string
		records int
	}{
		{quotaChange("producer_byte_rate", 10, "user", "a"), "", 0}, // as it is
		{quotaChange("producer_byte_rate", 11, "user", "a"), "", 1},
		{quotaChange("producer_byte_rate", removeQuota, "user", "a"), "", 1},
		{quotaChange("consumer_byte_rate", removeQuota, "user", "a"), "", 0},
		{quotaChange("no_such_key", removeQuota, "user", "a"), "", 0},
		{quotaChange("producer_byte_rate", 1, "client-id", "", "user", ""), "", 1},
		{quotaChange("request_percentage", 0.5, "client-id", "c"), "", 1},
		{quotaChange("connection_creation_rate", 5, "ip", "::1"), "", 1},
		{quotaChange("connection_creation_rate", 5, "ip", ""), "", 1},
		{quotaChange("producer_byte_rate", 1), "Invalid empty client quota entity", 0},
		{quotaChange("producer_byte_rate", 1, "group", "g"), "Unhandled client quota entity type: group", 0},
		{quotaChange("connection_creation_rate", 1, "ip", "10.0.0.1", "user", "a"), "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId", 0},
		{quotaChange("connection_creation_rate", 1, "ip", "not an address"), "not an address is not a valid IP or resolvable host.", 0},
		{quotaChange("producer_byte_rate", 1, "ip", "10.0.0.1"), "Invalid configuration key producer_byte_rate", 0},
		{quotaChange("connection_creation_rate", 1, "user", "a"), "Invalid configuration key connection_creation_rate", 0},
		{quotaChange("producer_byte_rate", 0, "user", "a"), "Quota producer_byte_rate must be greater than 0", 0},
		{quotaChange("request_percentage", -1, "user", "a"), "Quota request_percentage must be greater than 0", 0},
		{quotaChange("request_percentage", math.NaN(), "user", "a"), "Quota request_percentage must be greater than 0", 0},
		{quotaChange("producer_byte_rate", 1.5, "user", "a"), "producer_byte_rate cannot be a fractional value.", 0},
		{quotaChange("producer_byte_rate", 1e30, "user", "a"), "Proposed value for producer_byte_rate is too large for a LONG.", 0},
		{quotaChange("connection_creation_rate", 3e9, "ip", "10.0.0.1"), "Proposed value for connection_creation_rate is too large for an INT.", 0},
	} {
		c := newCluster(t, 30)
		d, _ := c.alterQuotas(quotaChange("producer_byte_rate", 10, "user", "a"))
		c.fold(d.Records...)
		d, res := c.alterQuotas(tc.entry)
		code := errors.None
		if tc.text != "" {
			code = errors.InvalidRequest
		}
		what := fmt.Sprintf("%v %v", tc.entry.Entity, tc.entry.Ops)
		wantError(t, what, res.Entries[0].ErrorCode, res.Entries[0].ErrorMessage, code, tc.text)
		if len(d.Records) != tc.records {
			t.Errorf("%s: %d records, want %d", what, len(d.Records), tc.records)
		}
		c.fold(d.Records...)
	}
	empty := quotaChange("producer_byte_rate", 1, "user", "a")
	empty.Entity[0].Name = ptr("")
	_, res := newCluster(t, 30).alterQuotas(empty)
	wantError(t, "empty", res.Entries[0].ErrorCode, res.Entries[0].ErrorMessage, errors.InvalidRequest, "Empty user not supported")
}

// What is there twice is refused and changes nothing; the rest is done.
func TestAlterClientQuotasTwice(t *testing.T) {
	c := newCluster(t, 30)
	twoKeys := quotaChange("producer_byte_rate", 1, "user", "b")
	twoKeys.Ops = append(twoKeys.Ops, twoKeys.Ops[0])
	d, res := c.alterQuotas(
		quotaChange("producer_byte_rate", 1, "user", "a", "client-id", ""), quotaChange("consumer_byte_rate", 1, "client-id", "", "user", "a"),
		twoKeys, quotaChange("producer_byte_rate", 1, "user", "c"))
	if len(res.Entries) != 3 || len(d.Records) != 1 {
		t.Fatalf("%d answers, %d records", len(res.Entries), len(d.Records))
	}
	wantError(t, "a", res.Entries[0].ErrorCode, res.Entries[0].ErrorMessage, errors.InvalidRequest,
		"Ignoring duplicate entity ClientQuotaEntity(entries={client-id=null, user=a})")
	wantError(t, "b", res.Entries[1].ErrorCode, res.Entries[1].ErrorMessage, errors.InvalidRequest,
		"Ignoring duplicate entity ClientQuotaEntity(entries={user=b})")
	wantError(t, "c", res.Entries[2].ErrorCode, res.Entries[2].ErrorMessage, errors.None, "")
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.ValidateOnly, req.Entries = true, []kmsg.AlterClientQuotasRequestEntry{quotaChange("producer_byte_rate", 1, "user", "c")}
	if d, _ := AlterClientQuotas(c.in, req); len(d.Records) != 0 {
		t.Error("validating writes")
	}
	c.in.Caller.Allowed = onlyAllow()
	d, res = c.alterQuotas(quotaChange("producer_byte_rate", 1, "user", "c"))
	if len(d.Records) != 0 || errors.Code(res.Entries[0].ErrorCode) != errors.ClusterAuthorizationFailed {
		t.Errorf("not allowed: %+v", res.Entries)
	}
}

func TestDescribeClientQuotas(t *testing.T) {
	c := newCluster(t, image.MV43IV0)
	for i, entity := range [][]string{{"user", "a"}, {"user", ""}, {"user", "a", "client-id", "x"}, {"user", "b", "client-id", ""}, {"client-id", "x"}, {"ip", "10.0.0.1"}, {"ip", ""}} {
		r := &record.ClientQuotaRecord{Key: "k", Value: float64(i)}
		for _, part := range quotaEntry(entity...).Entity {
			r.Entity = append(r.Entity, record.QuotaEntity{EntityType: part.Type, EntityName: part.Name})
		}
		c.fold(message(r))
	}
	type part = kmsg.DescribeClientQuotasRequestComponent
	exact := func(kind, name string) part {
		return part{EntityType: kind, MatchType: kmsg.QuotasMatchTypeExact, Match: &name}
	}
	byDefault := func(kind string) part { return part{EntityType: kind, MatchType: kmsg.QuotasMatchTypeDefault} }
	anyOf := func(kind string) part { return part{EntityType: kind, MatchType: kmsg.QuotasMatchTypeAny} }
	for _, tc := range []struct {
		parts  []part
		strict bool
		want   string
	}{
		{nil, false, "client-id=x ip=10.0.0.1 ip=null user=a user=null client-id=x,user=a client-id=null,user=b"},
		{nil, true, ""},
		{[]part{exact("user", "a")}, false, "user=a client-id=x,user=a"},
		{[]part{exact("user", "a")}, true, "user=a"},
		{[]part{byDefault("user")}, false, "user=null"},
		{[]part{anyOf("user")}, false, "user=a user=null client-id=x,user=a client-id=null,user=b"},
		{[]part{anyOf("user"), anyOf("client-id")}, true, "client-id=x,user=a client-id=null,user=b"},
		{[]part{anyOf("user"), byDefault("client-id")}, false, "client-id=null,user=b"},
		{[]part{anyOf("ip")}, true, "ip=10.0.0.1 ip=null"},
		{[]part{exact("ip", "10.0.0.1")}, false, "ip=10.0.0.1"},
		{[]part{exact("ip", "null")}, false, ""},

		{[]part{exact("", "a")}, false, "INVALID_REQUEST Invalid empty entity type."},
		{[]part{exact("user", "a"), anyOf("user")}, false, "INVALID_REQUEST Entity type user cannot appear more than once in the filter."},
		{[]part{exact("group", "a")}, false, "UNSUPPORTED_VERSION Unsupported entity type group"},
		{[]part{{EntityType: "user"}}, false, "INVALID_REQUEST Request specified MATCH_TYPE_EXACT, but set match string to null."},
		{[]part{{EntityType: "user", MatchType: 1, Match: ptr("a")}}, false, "INVALID_REQUEST Request specified MATCH_TYPE_DEFAULT, but also specified a match string."},
		{[]part{{EntityType: "user", MatchType: 2, Match: ptr("a")}}, false, "INVALID_REQUEST Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."},
		{[]part{{EntityType: "user", MatchType: 3}}, false, "INVALID_REQUEST Unknown match type 3"},
		{[]part{anyOf("user"), anyOf("ip")}, false, "INVALID_REQUEST Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component."},
	} {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components, req.Strict = tc.parts, tc.strict
		res := DescribeClientQuotas(c.in, req)
		if got := describedText(res); !sameWords(got, tc.want) {
			t.Errorf("%+v, strict %v:\n%s\nwant\n%s", tc.parts, tc.strict, got, tc.want)
		}
	}
	c.in.Caller.Allowed = onlyAllow()
	res := DescribeClientQuotas(c.in, kmsg.NewPtrDescribeClientQuotasRequest())
	wantError(t, "denied", res.ErrorCode, res.ErrorMessage, errors.ClusterAuthorizationFailed, "")
}

func describedText(res *kmsg.DescribeClientQuotasResponse) string {
	if res.ErrorCode != 0 {
		return errors.Code(res.ErrorCode).String() + " " + *res.ErrorMessage
	}
	var out []string
	for _, e := range res.Entries {
		var parts []string
		for _, p := range e.Entity {
			name := "null"
			if p.Name != nil {
				name = *p.Name
			}
			parts = append(parts, p.Type+"="+name)
		}
		out = append(out, strings.Join(parts, ","))
	}
	return strings.Join(out, " ")
}

// sameWords compares texts without regard to the order of their words.
func sameWords(a, b string) bool {
	count := make(map[string]int)
	for _, w := range strings.Fields(a) {
		count[w]++
	}
	for _, w := range strings.Fields(b) {
		count[w]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
