package describe

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// The parts of a quota's entity (ClientQuotaEntity).
const (
	entityIP       = "ip"
	entityClientID = "client-id"
	entityUser     = "user"
)

// ClientQuotas answers DescribeClientQuotas (key 48, versions 0 and 1;
// ClientQuotasImage.describe).
func ClientQuotas(im *image.Image, req *kmsg.DescribeClientQuotasRequest) *kmsg.DescribeClientQuotasResponse {
	res := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	filter, err := readQuotaFilter(req)
	if err != nil {
		res.ErrorCode, res.ErrorMessage = Outcome(err)
		return res
	}
	res.ErrorMessage = new(string) // Apache's default, not null
	res.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	for q := range im.ClientQuotas() {
		if filter.matches(q.Entity) {
			res.Entries = append(res.Entries, describedQuota(q))
		}
	}
	return res
}

// quotaFilter holds what each part must be; a part that is not in it may be
// anything, or must be absent when strict.
type quotaFilter struct {
	parts  map[string]partFilter
	strict bool
}

// partFilter asks for a name, for the default (no name), or for any name.
type partFilter struct {
	any  bool
	name *string
}

func readQuotaFilter(req *kmsg.DescribeClientQuotasRequest) (quotaFilter, *errors.Error) {
	f := quotaFilter{parts: make(map[string]partFilter, 3), strict: req.Strict}
	for _, c := range req.Components {
		part, err := readPartFilter(c)
		_, again := f.parts[c.EntityType]
		switch {
		case c.EntityType == "":
			return f, errors.New(errors.InvalidRequest, "Invalid empty entity type.")
		case again:
			return f, errors.New(errors.InvalidRequest, "Entity type %s cannot appear more than once in the filter.", c.EntityType)
		case c.EntityType != entityIP && c.EntityType != entityClientID && c.EntityType != entityUser:
			return f, errors.New(errors.UnsupportedVersion, "Unsupported entity type %s", c.EntityType)
		case err != nil:
			return f, err
		}
		f.parts[c.EntityType] = part
	}
	if _, ok := f.parts[entityIP]; ok && len(f.parts) > 1 {
		return f, errors.New(errors.InvalidRequest, "Invalid entity filter component combination. "+
			"IP filter component should not be used with user or clientId filter component.")
	}
	return f, nil
}

func readPartFilter(c kmsg.DescribeClientQuotasRequestComponent) (partFilter, *errors.Error) {
	switch {
	case c.MatchType == kmsg.QuotasMatchTypeExact && c.Match == nil:
		return partFilter{}, errors.New(errors.InvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null.")
	case c.MatchType == kmsg.QuotasMatchTypeExact:
		return partFilter{name: c.Match}, nil
	case c.MatchType == kmsg.QuotasMatchTypeDefault && c.Match != nil:
		return partFilter{}, errors.New(errors.InvalidRequest, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
	case c.MatchType == kmsg.QuotasMatchTypeDefault:
		return partFilter{}, nil
	case c.MatchType == kmsg.QuotasMatchTypeAny && c.Match != nil:
		return partFilter{}, errors.New(errors.InvalidRequest, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
	case c.MatchType == kmsg.QuotasMatchTypeAny:
		return partFilter{any: true}, nil
	}
	return partFilter{}, errors.New(errors.InvalidRequest, "Unknown match type %d", int8(c.MatchType))
}

func (f quotaFilter) matches(e image.QuotaEntity) bool {
	for _, part := range entityNames(e) {
		want, ok := f.parts[part.kind]
		switch {
		case !ok && part.name.Set && f.strict:
			return false
		case !ok || want.any && part.name.Set:
		case !part.name.Set:
			return false
		case want.name == nil && !part.name.Default:
			return false
		case want.name != nil && (part.name.Default || part.name.Name != *want.name):
			return false
		}
	}
	return true
}

type namedPart struct {
	kind string
	name image.QuotaName
}

func entityNames(e image.QuotaEntity) [3]namedPart {
	return [...]namedPart{{entityIP, e.IP}, {entityClientID, e.ClientID}, {entityUser, e.User}}
}

func describedQuota(q *image.ClientQuota) kmsg.DescribeClientQuotasResponseEntry {
	entry := kmsg.NewDescribeClientQuotasResponseEntry()
	for _, part := range entityNames(q.Entity) {
		if !part.name.Set {
			continue
		}
		p := kmsg.NewDescribeClientQuotasResponseEntryEntity()
		p.Type = part.kind
		if !part.name.Default {
			name := part.name.Name
			p.Name = &name
		}
		entry.Entity = append(entry.Entity, p)
	}
	for _, key := range q.Keys() {
		v := kmsg.NewDescribeClientQuotasResponseEntryValue()
		v.Key = key
		v.Value, _ = q.Get(key)
		entry.Values = append(entry.Values, v)
	}
	return entry
}
