package znode

import (
	"fmt"
	"slices"
	"strings"
)

// ResourceType is Kafka's code of what an ACL is about.
type ResourceType int8

// The resource types, in the order in which Apache's migration reads them.
const (
	ResourceTopic           ResourceType = 2
	ResourceGroup           ResourceType = 3
	ResourceCluster         ResourceType = 4
	ResourceTransactionalID ResourceType = 5
	ResourceDelegationToken ResourceType = 6
	ResourceUser            ResourceType = 7
)

// ResourceTypes are all of them.
var ResourceTypes = []ResourceType{ResourceTopic, ResourceGroup, ResourceCluster, ResourceTransactionalID, ResourceDelegationToken, ResourceUser}

var resourceNames = [...]string{2: "Topic", 3: "Group", 4: "Cluster", 5: "TransactionalId", 6: "DelegationToken", 7: "User"}

// String is the name of the type in paths, such as "TransactionalId".
func (t ResourceType) String() string {
	if t >= ResourceTopic && int(t) < len(resourceNames) {
		return resourceNames[t]
	}
	return fmt.Sprintf("ResourceType(%d)", int8(t))
}

// constant is the name of the type in change notifications, such as
// "TRANSACTIONAL_ID".
func (t ResourceType) constant() string {
	var b strings.Builder
	for i, c := range t.String() {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(c)
	}
	return strings.ToUpper(b.String())
}

// ParseResourceType reads a node name below /kafka-acl.
func ParseResourceType(name string) (ResourceType, error) {
	if i := slices.Index(resourceNames[:], name); i > 0 && name != "" {
		return ResourceType(i), nil
	}
	return 0, fmt.Errorf("%q is no resource type: %s are known", shorten([]byte(name)), strings.Join(resourceNames[2:], ", "))
}

// PatternType is Kafka's code of how a resource name is meant.
type PatternType int8

// The pattern types of stored ACLs.
const (
	PatternLiteral  PatternType = 3
	PatternPrefixed PatternType = 4
)

// PatternTypes are both.
var PatternTypes = []PatternType{PatternLiteral, PatternPrefixed}

// The names of operations and permissions by code (AclOperation,
// AclPermissionType). "Any" only occurs in filters.
var (
	operationNames = []string{
		2: "All", 3: "Read", 4: "Write", 5: "Create", 6: "Delete", 7: "Alter", 8: "Describe", 9: "ClusterAction",
		10: "DescribeConfigs", 11: "AlterConfigs", 12: "IdempotentWrite", 13: "CreateTokens", 14: "DescribeTokens",
	}
	permissionNames = []string{2: "Deny", 3: "Allow"}
)

// ACLEntry is one rule about a resource. Operation and Permission are Kafka's
// codes.
type ACLEntry struct {
	Principal, Host       string
	Operation, Permission int8
}

// ACLs are the rules about one resource and the node they are in.
type ACLs struct {
	Pattern PatternType
	Type    ResourceType
	Name    string
	Entries []ACLEntry // distinct
}

// Path is the node of the ACLs.
func (a *ACLs) Path() string { return ACLPath(a.Pattern, a.Type, a.Name) }

// entry is an ACL as the node has it.
type entry struct {
	Principal  string `json:"principal"`
	Permission string `json:"permissionType"`
	Host       string `json:"host"`
	Operation  string `json:"operation"`
}

// DecodeACLs reads the rules in the node of a resource.
func DecodeACLs(data []byte) ([]ACLEntry, error) {
	if len(data) == 0 {
		return nil, nil
	}
	o, err := parseVersion(data, 1, 1)
	if err != nil {
		return nil, err
	}
	members, err := get[[]object](o, "acls")
	if err != nil {
		return nil, err
	}
	var out []ACLEntry
	seen := map[ACLEntry]bool{}
	for i, m := range members {
		e, err := readEntry(m)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		if !seen[e] {
			out, seen[e] = append(out, e), true
		}
	}
	return out, nil
}

func readEntry(o object) (ACLEntry, error) {
	var texts [4]string
	for i, name := range []string{"principal", "host", "operation", "permissionType"} {
		var err error
		if texts[i], err = get[string](o, name); err != nil {
			return ACLEntry{}, err
		}
	}
	if kind, name, ok := strings.Cut(texts[0], ":"); !ok || kind == "" || name == "" {
		return ACLEntry{}, fmt.Errorf("the principal %q is not a type and a name, as User:alice is", shorten([]byte(texts[0])))
	}
	operation, err := code(operationNames, "operation", texts[2])
	if err != nil {
		return ACLEntry{}, err
	}
	permission, err := code(permissionNames, "permission", texts[3])
	if err != nil {
		return ACLEntry{}, err
	}
	return ACLEntry{Principal: texts[0], Host: texts[1], Operation: operation, Permission: permission}, nil
}

// code finds a name as Kafka does: in either of its spellings, DescribeConfigs
// and DESCRIBE_CONFIGS.
func code(names []string, noun, text string) (int8, error) {
	plain := strings.ReplaceAll(text, "_", "")
	for i, name := range names {
		if name != "" && strings.EqualFold(name, plain) {
			return int8(i), nil
		}
	}
	return 0, fmt.Errorf("the %s %q is unknown", noun, shorten([]byte(text)))
}

// Encode writes the node of the rules.
func (a *ACLs) Encode() []byte {
	entries := make([]entry, len(a.Entries))
	for i, e := range a.Entries {
		entries[i] = entry{e.Principal, permissionNames[e.Permission], e.Host, operationNames[e.Operation]}
	}
	return encode(struct {
		Entries []entry `json:"acls"`
		Version int     `json:"version"`
	}{entries, 1})
}

// Change is the notification of changed rules: the prefix of the sequential node,
// and its data.
func (a *ACLs) Change() (prefix string, data []byte) {
	if a.Pattern == PatternLiteral {
		return ACLChangePrefix, []byte(a.Type.constant() + ":" + a.Name)
	}
	return ExtendedACLPrefix, encode(struct {
		Version int    `json:"version"`
		Type    string `json:"resourceType"`
		Name    string `json:"name"`
		Pattern string `json:"patternType"`
	}{1, a.Type.constant(), a.Name, "PREFIXED"})
}

// Token is a delegation token, as /delegation_token/tokens/ID describes it. Times
// are milliseconds since 1970.
type Token struct {
	ID               string
	Owner, Requester string
	Renewers         []string
	Issued           int64
	Max              int64
	Expires          int64
}

// DecodeToken reads a delegation token. Before version 3 the owner had asked for
// it itself.
func DecodeToken(data []byte) (Token, error) {
	o, err := parseVersion(data, 1, 3)
	if err != nil {
		return Token{}, err
	}
	t := Token{}
	if t.ID, err = get[string](o, "tokenId"); err != nil {
		return Token{}, err
	}
	if t.Owner, err = principal(o, "owner"); err != nil {
		return Token{}, err
	}
	t.Requester = t.Owner
	if o.has("tokenRequester") {
		if t.Requester, err = principal(o, "tokenRequester"); err != nil {
			return Token{}, err
		}
	}
	for name, into := range map[string]*int64{"issueTimestamp": &t.Issued, "maxTimestamp": &t.Max, "expiryTimestamp": &t.Expires} {
		if *into, err = o.number(name); err != nil {
			return Token{}, err
		}
	}
	renewers, err := getOr[[]string](o, "renewers", nil)
	if err != nil {
		return Token{}, err
	}
	for _, r := range renewers {
		name, err := Desanitize(r)
		if err != nil {
			return Token{}, fmt.Errorf("\"renewers\": %w", err)
		}
		t.Renewers = append(t.Renewers, name)
	}
	return t, nil
}

func principal(o object, name string) (string, error) {
	text, err := get[string](o, name)
	if err != nil {
		return "", err
	}
	text, err = Desanitize(text)
	if err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	if kind, rest, ok := strings.Cut(text, ":"); !ok || kind == "" || rest == "" {
		return "", fmt.Errorf("%q is %q, not a type and a name as User:alice is", name, shorten([]byte(text)))
	}
	return text, nil
}

// Encode writes a delegation token, at version 3.
func (t Token) Encode() []byte {
	renewers := make([]string, len(t.Renewers))
	for i, r := range t.Renewers {
		renewers[i] = Sanitize(r)
	}
	return encode(struct {
		Version   int      `json:"version"`
		Owner     string   `json:"owner"`
		Requester string   `json:"tokenRequester"`
		Renewers  []string `json:"renewers"`
		Issued    int64    `json:"issueTimestamp"`
		Max       int64    `json:"maxTimestamp"`
		Expires   int64    `json:"expiryTimestamp"`
		ID        string   `json:"tokenId"`
	}{3, Sanitize(t.Owner), Sanitize(t.Requester), renewers, t.Issued, t.Max, t.Expires, t.ID})
}
