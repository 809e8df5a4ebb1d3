package controller

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// admitted are the resources of a request that may be changed, and the answers
// for the others.
type admitted struct {
	changes []*configChange
	refused []refusedResource
}

type refusedResource struct {
	resource image.Resource
	err      *errors.Error
}

// admitResources does what ControllerApis does before the controller sees a
// request: unknown types, resources that are there twice (answered once), and
// authorization. change builds the change of the i-th resource.
func admitResources(in Input, resources []image.Resource, change func(i int) *configChange) admitted {
	var a admitted
	count := make(map[image.Resource]int, len(resources))
	for _, r := range resources {
		count[r]++
	}
	for i, r := range resources {
		var err *errors.Error
		switch n := count[r]; {
		case !knownType(r.Type):
			err = errors.New(errors.UnsupportedVersion, "Unknown resource type %d.", r.Type)
		case n == 0:
			continue // a duplicate that was answered
		case n > 1:
			err = errors.New(errors.InvalidRequest, "Duplicate resource.")
			count[r] = 0
		default:
			err = mayAlterConfig(in.Caller, r)
		}
		if err != nil {
			a.refused = append(a.refused, refusedResource{r, err})
			continue
		}
		a.changes = append(a.changes, change(i))
	}
	return a
}

// IncrementalAlterConfigs decides IncrementalAlterConfigs (key 44, versions 0
// and 1; KIP-339).
func IncrementalAlterConfigs(in Input, req *kmsg.IncrementalAlterConfigsRequest) (Decision, *kmsg.IncrementalAlterConfigsResponse) {
	res := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	resources := make([]image.Resource, len(req.Resources))
	for i, r := range req.Resources {
		resources[i] = image.Resource{Type: image.ResourceType(r.ResourceType), Name: r.ResourceName}
	}
	a := admitResources(in, resources, func(i int) *configChange {
		return incrementalChange(in.Image, resources[i], req.Resources[i].Configs)
	})
	answer := func(r image.Resource, err *errors.Error) {
		t := kmsg.NewIncrementalAlterConfigsResponseResource()
		t.ResourceType, t.ResourceName = kmsg.ConfigResourceType(r.Type), r.Name
		t.ErrorCode, t.ErrorMessage = report(err)
		res.Resources = append(res.Resources, t)
	}
	return a.decide(in, req.ValidateOnly, answer), res
}

// AlterConfigs decides AlterConfigs (key 33, versions 0 to 2): what is not
// mentioned is removed.
func AlterConfigs(in Input, req *kmsg.AlterConfigsRequest) (Decision, *kmsg.AlterConfigsResponse) {
	res := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	resources := make([]image.Resource, len(req.Resources))
	for i, r := range req.Resources {
		resources[i] = image.Resource{Type: image.ResourceType(r.ResourceType), Name: r.ResourceName}
	}
	a := admitResources(in, resources, func(i int) *configChange {
		return wholeChange(in.Image, resources[i], req.Resources[i].Configs)
	})
	answer := func(r image.Resource, err *errors.Error) {
		t := kmsg.NewAlterConfigsResponseResource()
		t.ResourceType, t.ResourceName = kmsg.ConfigResourceType(r.Type), r.Name
		t.ErrorCode, t.ErrorMessage = report(err)
		res.Resources = append(res.Resources, t)
	}
	return a.decide(in, req.ValidateOnly, answer), res
}

// decide makes the changes and answers for every resource.
func (a admitted) decide(in Input, validateOnly bool, answer func(image.Resource, *errors.Error)) Decision {
	for _, r := range a.refused {
		answer(r.resource, r.err)
	}
	d, results := alterConfigs(in, a.changes, validateOnly)
	for i, err := range results {
		answer(a.changes[i].resource, err)
	}
	return d
}

// wholeChange is the change that leaves a resource with exactly these configs.
func wholeChange(im *image.Image, r image.Resource, configs []kmsg.AlterConfigsRequestResourceConfig) *configChange {
	current := configValues(im, r)
	asked := make(map[string]*string, len(configs))
	for _, kv := range configs { // the last of equal keys wins
		asked[kv.Name] = kv.Value
	}
	c := &configChange{resource: r, write: make(map[string]*string, len(asked))}
	for key, value := range asked {
		c.add(current, key, value)
	}
	for _, key := range sortedKeys(current) {
		if _, ok := asked[key]; !ok {
			c.drop = append(c.drop, key)
		}
	}
	return c
}

// add writes a key unless that changes nothing.
func (c *configChange) add(current map[string]string, key string, value *string) {
	old, have := current[key]
	same := have == (value != nil) && (value == nil || *value == old)
	if !same || c.resource.Type == image.ResourceBroker {
		c.write[key] = value
	}
}

// incrementalChange applies operations to single keys. Of several operations
// on one key the last counts, each on the stored value.
func incrementalChange(im *image.Image, r image.Resource, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) *configChange {
	current := configValues(im, r)
	byKey := make(map[string]kmsg.IncrementalAlterConfigsRequestResourceConfig, len(ops))
	for _, op := range ops {
		byKey[op.Name] = op
	}
	c := &configChange{resource: r, write: make(map[string]*string, len(byKey))}
	for _, key := range sortedKeys(byKey) {
		value, err := applyOp(r, byKey[key], current)
		if err != nil {
			c.err = err
			return c
		}
		c.add(current, key, value)
	}
	return c
}

// applyOp is the value of a key after an operation, nil if it is removed.
func applyOp(r image.Resource, op kmsg.IncrementalAlterConfigsRequestResourceConfig, current map[string]string) (*string, *errors.Error) {
	switch op.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return op.Value, nil
	case kmsg.IncrementalAlterConfigOpDelete:
		return nil, nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default: // Apache fails without a word here
		return nil, errors.New(errors.InvalidRequest, "Unknown operation %d on config %s.", int8(op.Op), op.Name)
	}
	verb := "APPEND"
	if op.Op == kmsg.IncrementalAlterConfigOpSubtract {
		verb = "SUBTRACT"
	}
	if !config.IsList(configScope(r), op.Name) {
		return nil, errors.New(errors.InvalidConfig, "Can't %s to key %s because its type is not LIST.", verb, op.Name)
	}
	if op.Value == nil {
		return nil, errors.New(errors.InvalidRequest, "Null value not supported for : %s", op.Name)
	}
	items := storedItems(r, op.Name, current)
	for _, item := range strings.Split(*op.Value, ",") {
		at := slices.Index(items, item)
		switch {
		case verb == "APPEND" && at < 0:
			items = append(items, item)
		case verb == "SUBTRACT" && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	joined := strings.Join(items, ",")
	return &joined, nil
}

// storedItems are the items of a list as it is stored, else of its default.
func storedItems(r image.Resource, key string, current map[string]string) []string {
	text, ok := current[key]
	if !ok {
		if k, known := config.Lookup(configScope(r), key); known {
			text = k.Default.Text
		}
	}
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}

// configScope is where package config keeps the keys of a resource.
func configScope(r image.Resource) config.Scope {
	switch r.Type {
	case image.ResourceTopic:
		return config.ScopeTopic
	case image.ResourceClientMetrics:
		return config.ScopeClientMetrics
	case image.ResourceGroup:
		return config.ScopeGroup
	}
	if r.Name == "" {
		return config.ScopeCluster
	}
	return config.ScopeBroker
}
