package image

import (
	"fmt"
	"maps"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// setConfig sets or, with a null value, removes one key. A resource without
// keys is not in the image (ConfigurationsDelta).
func (d *Delta) setConfig(r *record.ConfigRecord) {
	resource := Resource{ResourceType(r.ResourceType), r.ResourceName}
	c := d.configs.get(resource)
	if c == nil || c.owner != d.owner {
		own := &ResourceConfig{Resource: resource, owner: d.owner, values: map[string]string{}}
		if c != nil {
			maps.Copy(own.values, c.values)
		}
		c = own
	}
	if r.Value != nil {
		c.values[r.Name] = *r.Value
	} else {
		delete(c.values, r.Name)
	}
	if len(c.values) == 0 {
		d.configs.delete(resource)
		return
	}
	d.configs.set(resource, c)
}

// setQuota sets or removes one quota of an entity, as setConfig does.
func (d *Delta) setQuota(r *record.ClientQuotaRecord) error {
	entity, err := quotaEntity(r.Entity)
	if err != nil {
		return err
	}
	q := d.quotas.get(entity)
	if q == nil || q.owner != d.owner {
		own := &ClientQuota{Entity: entity, owner: d.owner, values: map[string]float64{}}
		if q != nil {
			maps.Copy(own.values, q.values)
		}
		q = own
	}
	if r.Remove {
		delete(q.values, r.Key)
	} else {
		q.values[r.Key] = r.Value
	}
	if len(q.values) == 0 {
		d.quotas.delete(entity)
		return nil
	}
	d.quotas.set(entity, q)
	return nil
}

// The types of an entity's parts (ClientQuotaEntity).
const (
	quotaUser     = "user"
	quotaClientID = "client-id"
	quotaIP       = "ip"
)

// quotaEntity reads the parts of an entity.
func quotaEntity(parts []record.QuotaEntity) (QuotaEntity, error) {
	var e QuotaEntity
	for _, p := range parts {
		name := QuotaName{Set: true, Default: true}
		if p.EntityName != nil {
			name = QuotaName{Set: true, Name: *p.EntityName}
		}
		switch p.EntityType {
		case quotaUser:
			e.User = name
		case quotaClientID:
			e.ClientID = name
		case quotaIP:
			e.IP = name
		default:
			return e, fmt.Errorf("entity type %q is none of user, client-id, ip", p.EntityType)
		}
	}
	if e == (QuotaEntity{}) {
		return e, fmt.Errorf("the quota has no entity")
	}
	return e, nil
}

// addACL refuses an id that exists: Apache's controller takes that for a fault.
func (d *Delta) addACL(r *record.AccessControlEntryRecord) error {
	if d.acls.get(r.ID) != nil {
		return fmt.Errorf("an access control entry with id %s exists already", r.ID)
	}
	d.acls.set(r.ID, &ACL{
		ID:             r.ID,
		ResourceType:   r.ResourceType,
		ResourceName:   r.ResourceName,
		PatternType:    r.PatternType,
		Principal:      r.Principal,
		Host:           r.Host,
		Operation:      r.Operation,
		PermissionType: r.PermissionType,
	})
	return nil
}

func (d *Delta) removeACL(id kafka.UUID) error {
	if d.acls.get(id) == nil {
		return fmt.Errorf("there is no access control entry with id %s", id)
	}
	d.acls.delete(id)
	return nil
}

func scramKeyOf(user string, mechanism int8) (scramKey, error) {
	switch m := ScramMechanism(mechanism); m {
	case ScramSHA256, ScramSHA512:
		return scramKey{m, user}, nil
	}
	return scramKey{}, fmt.Errorf("user %s: mechanism %d is neither SCRAM-SHA-256 (1) nor SCRAM-SHA-512 (2)", user, mechanism)
}

func (d *Delta) setScram(r *record.UserScramCredentialRecord) error {
	key, err := scramKeyOf(r.Name, r.Mechanism)
	if err != nil {
		return err
	}
	d.scram.set(key, &ScramCredential{
		User:       r.Name,
		Mechanism:  key.mechanism,
		Salt:       r.Salt,
		StoredKey:  r.StoredKey,
		ServerKey:  r.ServerKey,
		Iterations: r.Iterations,
	})
	return nil
}

func (d *Delta) removeScram(r *record.RemoveUserScramCredentialRecord) error {
	key, err := scramKeyOf(r.Name, r.Mechanism)
	if err != nil {
		return err
	}
	if d.scram.get(key) == nil {
		return fmt.Errorf("user %s has no credential of mechanism %d", r.Name, r.Mechanism)
	}
	d.scram.delete(key)
	return nil
}

func (d *Delta) setToken(r *record.DelegationTokenRecord) {
	d.tokens.set(r.TokenID, &DelegationToken{
		TokenID:             r.TokenID,
		Owner:               r.Owner,
		Requester:           r.Requester,
		Renewers:            orNil(r.Renewers),
		IssueTimestamp:      r.IssueTimestamp,
		MaxTimestamp:        r.MaxTimestamp,
		ExpirationTimestamp: r.ExpirationTimestamp,
	})
}
