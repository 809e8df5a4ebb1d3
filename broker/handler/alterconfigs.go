package handler

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// AlterConfigs (key 33, versions 0 to 2) and IncrementalAlterConfigs (44, 0 to 1;
// ConfigAdminManager).
//
// What this broker alone can judge it judges first: whether the values for
// itself or for all brokers could be taken here, and the levels of its loggers,
// of which it has none. The rest goes to the active controller in one piece, and
// the answers are put together in the order of the request.
func (h *Handlers) incrementalAlterConfigs(ctx context.Context, c *call, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	res.Resources = make([]kmsg.IncrementalAlterConfigsResponseResource, len(req.Resources))
	rest, seen := *req, map[image.Resource]int{}
	rest.Resources = nil
	for i := range req.Resources {
		seen[resourceOf(req.Resources[i].ResourceType, req.Resources[i].ResourceName)]++
	}
	var open []int
	for i := range req.Resources {
		asked, out := &req.Resources[i], &res.Resources[i]
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		r := resourceOf(asked.ResourceType, asked.ResourceName)
		if err := h.checkIncremental(c, r, asked.Configs, seen[r] > 1); err != nil {
			out.ErrorCode, out.ErrorMessage = describe.Outcome(err)
			continue
		}
		rest.Resources = append(rest.Resources, *asked)
		open = append(open, i)
	}
	if len(open) == 0 {
		return res
	}
	answer := h.ask(ctx, c, &rest, len(open) == len(req.Resources)).(*kmsg.IncrementalAlterConfigsResponse)
	for n, i := range open {
		if n < len(answer.Resources) {
			res.Resources[i] = answer.Resources[n]
		} else {
			res.Resources[i].ErrorCode = int16(errors.UnknownServerError)
		}
	}
	return res
}

func resourceOf(t kmsg.ConfigResourceType, name string) image.Resource {
	return image.Resource{Type: image.ResourceType(t), Name: name}
}

var (
	errResourceTwice = errors.New(errors.InvalidRequest, "Each resource must appear at most once.")
	errKeyTwice      = errors.New(errors.InvalidRequest, "Error due to duplicate config keys")
)

func (h *Handlers) checkIncremental(c *call, r image.Resource, changes []kmsg.IncrementalAlterConfigsRequestResourceConfig, twice bool) *errors.Error {
	if twice {
		return errResourceTwice
	}
	names, nulls := make([]string, 0, len(changes)), []string(nil)
	for i := range changes {
		names = append(names, changes[i].Name)
		if changes[i].Value == nil && changes[i].Op != kmsg.IncrementalAlterConfigOpDelete {
			nulls = append(nulls, changes[i].Name)
		}
	}
	if err := checkKeys(names, nulls); err != nil {
		return err
	}
	switch r.Type {
	case image.ResourceBrokerLogger:
		return h.checkLoggers(c, r, names)
	case image.ResourceBroker:
		return h.checkBroker(c, r, func(values map[string]string) *errors.Error { return applyChanges(r, values, changes) })
	default:
		return checkType(r)
	}
}

// checkKeys refuses a key that comes twice, and keys without a value.
func checkKeys(names, nulls []string) *errors.Error {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	switch {
	case len(slices.Compact(sorted)) < len(names):
		return errKeyTwice
	case len(nulls) > 0:
		return errors.New(errors.InvalidRequest, "Null value not supported for : %s", strings.Join(nulls, ", "))
	}
	return nil
}

func checkType(r image.Resource) *errors.Error {
	switch r.Type {
	case image.ResourceTopic, image.ResourceClientMetrics, image.ResourceGroup:
		return nil
	}
	return errors.New(errors.InvalidRequest, "Unknown resource type %d", int8(r.Type))
}

// checkLoggers: a node of kvorum has no loggers by Java's names.
func (h *Handlers) checkLoggers(c *call, r image.Resource, names []string) *errors.Error {
	if !c.mayCluster(kmsg.ACLOperationAlterConfigs) {
		return &errors.Error{Code: errors.ClusterAuthorizationFailed}
	}
	if err := h.ownName(r.Name); err != nil {
		return err
	}
	for _, name := range names {
		return errors.New(errors.InvalidConfig, "Logger %s does not exist!", name)
	}
	return nil
}

// ownName checks that a resource is this node.
func (h *Handlers) ownName(name string) *errors.Error {
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil:
		return errors.New(errors.InvalidRequest, "Node id must be an integer, but it is: %s", name)
	case int32(id) != int32(h.cfg.Self):
		return errors.New(errors.InvalidRequest, "Unexpected broker id, expected %d, but received %s", h.cfg.Self, name)
	}
	return nil
}

// checkBroker checks the dynamic configs that a broker, or all of them, would
// have. Apache calls every value that does not fit an invalid request
// (KAFKA-13609).
func (h *Handlers) checkBroker(c *call, r image.Resource, change func(map[string]string) *errors.Error) *errors.Error {
	scope := config.ScopeCluster
	if r.Name != "" {
		scope = config.ScopeBroker
		if err := h.ownName(r.Name); err != nil {
			return err
		}
	}
	values := map[string]string{}
	if stored := c.image.Config(r); stored != nil {
		values = stored.Values()
	}
	if err := change(values); err != nil {
		return err
	}
	if err := config.ValidateBroker(scope, values); err != nil {
		return errors.New(errors.InvalidRequest, "%s", err)
	}
	now := h.cfg.Layers()
	next := now
	if scope == config.ScopeBroker {
		next.Broker = values
	} else {
		next.Cluster = values
	}
	if err := config.ValidateRunning(now, next); err != nil {
		return errors.New(errors.InvalidRequest, "%s", err)
	}
	return nil
}

// applyChanges does to values what an incremental request says
// (ConfigAdminManager.prepareIncrementalConfigs).
func applyChanges(r image.Resource, values map[string]string, changes []kmsg.IncrementalAlterConfigsRequestResourceConfig) *errors.Error {
	scope := config.ScopeCluster
	if r.Name != "" {
		scope = config.ScopeBroker
	}
	for i := range changes {
		ch := &changes[i]
		switch ch.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			values[ch.Name] = *ch.Value
		case kmsg.IncrementalAlterConfigOpDelete:
			delete(values, ch.Name)
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			verb, add := "subtract", ch.Op == kmsg.IncrementalAlterConfigOpAppend
			if add {
				verb = "append"
			}
			if !config.IsList(scope, ch.Name) {
				return errors.New(errors.InvalidConfig, "Config value %s is not allowed for config key: %s", verb, ch.Name)
			}
			values[ch.Name] = changeList(values[ch.Name], *ch.Value, add)
		default:
			return errors.New(errors.InvalidRequest, "Unknown operation type %d", int8(ch.Op))
		}
	}
	return nil
}

// changeList adds the items of a list to another, or takes them out.
func changeList(have, change string, add bool) string {
	var items []string
	if have != "" {
		items = strings.Split(have, ",")
	}
	for _, item := range strings.Split(change, ",") {
		switch at := slices.Index(items, item); {
		case add && at < 0:
			items = append(items, item)
		case !add && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return strings.Join(items, ",")
}

func (h *Handlers) alterConfigs(ctx context.Context, c *call, req *kmsg.AlterConfigsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	res.Resources = make([]kmsg.AlterConfigsResponseResource, len(req.Resources))
	rest, seen := *req, map[image.Resource]int{}
	rest.Resources = nil
	for i := range req.Resources {
		seen[resourceOf(req.Resources[i].ResourceType, req.Resources[i].ResourceName)]++
	}
	var open []int
	for i := range req.Resources {
		asked, out := &req.Resources[i], &res.Resources[i]
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		r := resourceOf(asked.ResourceType, asked.ResourceName)
		if err := h.checkAlter(c, r, asked.Configs, seen[r] > 1); err != nil {
			out.ErrorCode, out.ErrorMessage = describe.Outcome(err)
			continue
		}
		rest.Resources = append(rest.Resources, *asked)
		open = append(open, i)
	}
	if len(open) == 0 {
		return res
	}
	answer := h.ask(ctx, c, &rest, len(open) == len(req.Resources)).(*kmsg.AlterConfigsResponse)
	for n, i := range open {
		if n < len(answer.Resources) {
			res.Resources[i] = answer.Resources[n]
		} else {
			res.Resources[i].ErrorCode = int16(errors.UnknownServerError)
		}
	}
	return res
}

func (h *Handlers) checkAlter(c *call, r image.Resource, values []kmsg.AlterConfigsRequestResourceConfig, twice bool) *errors.Error {
	if twice {
		return errResourceTwice
	}
	names, nulls := make([]string, 0, len(values)), []string(nil)
	for i := range values {
		names = append(names, values[i].Name)
		if values[i].Value == nil {
			nulls = append(nulls, values[i].Name)
		}
	}
	if err := checkKeys(names, nulls); err != nil {
		return err
	}
	if r.Type != image.ResourceBroker {
		return checkType(r)
	}
	return h.checkBroker(c, r, func(all map[string]string) *errors.Error {
		clear(all)
		for i := range values {
			all[values[i].Name] = *values[i].Value
		}
		return nil
	})
}
