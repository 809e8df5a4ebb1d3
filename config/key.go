package config

// Type is the type of a key's value; the numbers are those of DescribeConfigs
// (KIP-569).
type Type int8

// The types of Apache's ConfigDef.
const (
	Unknown Type = iota
	Boolean
	String
	Int
	Short
	Long
	Double
	List
	Class
	Password
)

var typeNames = [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}

// String writes Kafka's name of the type.
func (t Type) String() string { return typeNames[t] }

// Scope is a set of places where a key may be set.
type Scope uint8

// The places. ScopeCluster and ScopeBroker are the two kinds of BROKER resource of
// AlterConfigs: the one with the empty name (all brokers), and one broker.
const (
	ScopeNode Scope = 1 << iota // server.properties
	ScopeCluster
	ScopeBroker
	ScopeTopic
	ScopeClientMetrics
	ScopeGroup
)

// Importance orders the reference.
type Importance uint8

// Apache's three levels.
const (
	High Importance = iota
	Medium
	Low
)

// String writes the level as the reference shows it.
func (i Importance) String() string { return [...]string{"high", "medium", "low"}[i] }

// Effect says what a key of server.properties does on a controller.
type Effect uint8

const (
	// OnController: the value is obeyed here.
	OnController Effect = iota
	// OnBroker: the key speaks of brokers; a controller reads and checks it and
	// has nothing to apply it to, as with Apache's controllers.
	OnBroker
	// Accepted: the key sizes something that kvorum does not have (threads, for
	// instance) or does not serve yet and does not announce (transactions), so that
	// no promise is broken by going on without it.
	Accepted
	// RefusedOnBroker: OnBroker on a controller, Refused on a broker.
	RefusedOnBroker
	// Refused: the key asks for something that this release does not do. Any
	// value but the default is an error at start.
	Refused
)

// String writes the effect as the reference shows it.
func (e Effect) String() string {
	return [...]string{"in effect", "brokers only", "accepted", "refused on brokers unless default", "refused unless default"}[e]
}

// Default is a key's default value. The zero Default is "no value" (null).
type Default struct {
	Text string
	kind defaultKind
}

type defaultKind uint8

const (
	defaultNull defaultKind = iota
	defaultText
	defaultRequired
)

var (
	unset    = Default{}
	required = Default{kind: defaultRequired}
)

func is(text string) Default { return Default{Text: text, kind: defaultText} }

// Set reports whether there is a default value at all.
func (d Default) Set() bool { return d.kind == defaultText }

// Required reports whether the key has to be given.
func (d Default) Required() bool { return d.kind == defaultRequired }

// Fallback is a node key that stands in for a topic or group key which is not
// set. Unit turns its number into the key's (60000 for minutes to
// milliseconds); 0 means no conversion.
type Fallback struct {
	Name string
	Unit int64
}

// Key is one row of the registry. Rows are constant.
type Key struct {
	Name       string
	Type       Type
	Default    Default
	Valid      Validator // nil: every value of the type
	Importance Importance
	Scopes     Scope
	Effect     Effect
	Instead    string     // the keys to use in place of a refused one
	Internal   bool       // not listed by DescribeConfigs
	Fallback   []Fallback // first found wins (ServerTopicConfigSynonyms)
	Doc        string
}

// Sensitive reports whether the value must never be shown.
func (k *Key) Sensitive() bool { return k.Type == Password }

// Parse reads text as a value of k and checks its range. The error is
// Apache's ConfigException text.
func (k *Key) Parse(text string) (Value, error) {
	v, err := parseValue(k.Name, k.Type, text)
	if err != nil {
		return Value{}, err
	}
	if _, ok := k.Valid.(listValid); ok {
		v.List = withoutDuplicates(v.List)
	}
	if k.Valid != nil {
		if err := k.Valid.check(k.Name, v); err != nil {
			return Value{}, err
		}
	}
	return v, nil
}
