package controller

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// The parts of a quota's entity (ClientQuotaEntity), in the order in which
// Apache writes them into records.
const (
	entityIP       = "ip"
	entityClientID = "client-id"
	entityUser     = "user"
)

// quotaKind is the type of a quota's value.
type quotaKind int8

const (
	quotaReal quotaKind = iota
	quotaInt
	quotaLong
)

// The quota keys of users and clients, and of addresses (QuotaConfig).
var (
	userQuotas = map[string]quotaKind{
		"producer_byte_rate":       quotaLong,
		"consumer_byte_rate":       quotaLong,
		"request_percentage":       quotaReal,
		"controller_mutation_rate": quotaReal,
	}
	ipQuotas = map[string]quotaKind{"connection_creation_rate": quotaInt}
)

// AlterClientQuotas decides AlterClientQuotas (key 49, versions 0 and 1): an
// entity is altered whole or not at all (ClientQuotaControlManager, KIP-546).
// Where one entity or key is given twice, Apache answers with an error and
// applies a part all the same; here nothing of that entity is applied.
func AlterClientQuotas(in Input, req *kmsg.AlterClientQuotasRequest) (Decision, *kmsg.AlterClientQuotasResponse) {
	res := req.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	denied := in.Caller.mayCluster(opAlterConfigs)
	entities := make([][]entityPart, len(req.Entries))
	count := make(map[string]int, len(req.Entries))
	for i, e := range req.Entries {
		entities[i] = quotaEntityParts(e.Entity)
		count[entityText(entities[i])]++
	}
	var records []record.Message
	for i, e := range req.Entries {
		text := entityText(entities[i])
		var changes []record.Message
		err := denied
		switch {
		case denied != nil:
		case count[text] == 0:
			continue // a duplicate that was answered
		case count[text] > 1 || duplicateQuotaKey(e.Ops):
			err = errors.New(errors.InvalidRequest, "Ignoring duplicate entity %s", text)
			count[text] = 0
		default:
			changes, err = alterQuota(in.Image, entities[i], e.Ops)
		}
		records = append(records, changes...)
		r := kmsg.NewAlterClientQuotasResponseEntry()
		r.ErrorCode, r.ErrorMessage = report(err)
		for _, part := range entities[i] {
			p := kmsg.NewAlterClientQuotasResponseEntryEntity()
			p.Type, p.Name = part.kind, part.name
			r.Entity = append(r.Entity, p)
		}
		res.Entries = append(res.Entries, r)
	}
	if req.ValidateOnly {
		records = nil
	}
	return Decision{Records: records, Atomic: true}, res
}

// entityPart is one part of an entity; a nil name is the type's default.
type entityPart struct {
	kind string
	name *string
}

// quotaEntityParts orders the parts of an entity; the last of equal types wins.
func quotaEntityParts(from []kmsg.AlterClientQuotasRequestEntryEntity) []entityPart {
	parts := make([]entityPart, 0, min(len(from), 3))
	for _, f := range from {
		at := slices.IndexFunc(parts, func(p entityPart) bool { return p.kind == f.Type })
		if at < 0 {
			parts = append(parts, entityPart{kind: f.Type})
			at = len(parts) - 1
		}
		parts[at].name = f.Name
	}
	slices.SortFunc(parts, func(a, b entityPart) int {
		return cmp.Or(cmp.Compare(entityOrder(a.kind), entityOrder(b.kind)), cmp.Compare(a.kind, b.kind))
	})
	return parts
}

func entityOrder(kind string) int {
	return slices.Index([]string{entityIP, entityClientID, entityUser}, kind)
}

// entityText names an entity in errors as Java prints it.
func entityText(parts []entityPart) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.kind + "=null"
		if p.name != nil {
			texts[i] = p.kind + "=" + *p.name
		}
	}
	return "ClientQuotaEntity(entries={" + strings.Join(texts, ", ") + "})"
}

func duplicateQuotaKey(ops []kmsg.AlterClientQuotasRequestEntryOp) bool {
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Key] {
			return true
		}
		seen[op.Key] = true
	}
	return false
}

// alterQuota decides what happens to one entity.
func alterQuota(im *image.Image, parts []entityPart, ops []kmsg.AlterClientQuotasRequestEntryOp) ([]record.Message, *errors.Error) {
	entity, keys, err := checkQuotaEntity(parts)
	if err != nil {
		return nil, err
	}
	var records []record.Message
	current := im.ClientQuota(entity)
	for _, op := range ops {
		value, have := 0.0, false
		if current != nil {
			value, have = current.Get(op.Key)
		}
		r := &record.ClientQuotaRecord{Key: op.Key}
		switch {
		case op.Remove && !have:
			continue
		case op.Remove:
			r.Remove = true
		default:
			if err := checkQuota(keys, op.Key, op.Value); err != nil {
				return nil, err
			}
			if have && value == op.Value {
				continue
			}
			r.Value = op.Value
		}
		for _, p := range parts { // no two records share an entity
			r.Entity = append(r.Entity, record.QuotaEntity{EntityType: p.kind, EntityName: p.name})
		}
		records = append(records, message(r))
	}
	return records, nil
}

// checkQuotaEntity checks the parts of an entity and says which keys it may have.
func checkQuotaEntity(parts []entityPart) (e image.QuotaEntity, keys map[string]quotaKind, err *errors.Error) {
	if len(parts) == 0 {
		return e, nil, errors.New(errors.InvalidRequest, "Invalid empty client quota entity")
	}
	for _, p := range parts {
		name := image.QuotaName{Set: true, Default: p.name == nil}
		if p.name != nil {
			name.Name = *p.name
		}
		switch p.kind {
		case entityUser:
			e.User = name
		case entityClientID:
			e.ClientID = name
		case entityIP:
			e.IP = name
		default:
			return e, nil, errors.New(errors.InvalidRequest, "Unhandled client quota entity type: %s", p.kind)
		}
		if p.name != nil && *p.name == "" {
			return e, nil, errors.New(errors.InvalidRequest, "Empty %s not supported", p.kind)
		}
	}
	switch {
	case !e.IP.Set:
		return e, userQuotas, nil
	case e.User.Set || e.ClientID.Set: // the missing space is Apache's
		return e, nil, errors.New(errors.InvalidRequest,
			"Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")
	case !e.IP.Default && !isAddress(e.IP.Name):
		return e, nil, errors.New(errors.InvalidRequest, "%s is not a valid IP or resolvable host.", e.IP.Name)
	}
	return e, ipQuotas, nil
}

// checkQuota checks one value (validateQuotaKeyValue).
func checkQuota(keys map[string]quotaKind, key string, value float64) *errors.Error {
	kind, ok := keys[key]
	switch {
	case !ok:
		return errors.New(errors.InvalidRequest, "Invalid configuration key %s", key)
	case math.IsNaN(value): // Apache lets it pass; nothing could be compared with it
		return errors.New(errors.InvalidRequest, "Quota %s must be greater than 0", key)
	case value <= 0:
		return errors.New(errors.InvalidRequest, "Quota %s must be greater than 0", key)
	case kind == quotaInt && value > math.MaxInt32:
		return errors.New(errors.InvalidRequest, "Proposed value for %s is too large for an INT.", key)
	case kind == quotaLong && value > math.MaxInt64:
		return errors.New(errors.InvalidRequest, "Proposed value for %s is too large for a LONG.", key)
	case kind != quotaReal && math.Mod(value, 1) > 1e-6:
		return errors.New(errors.InvalidRequest, "%s cannot be a fractional value.", key)
	}
	return nil
}
