package controller

import (
	stderrors "errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// The keys that have rules of their own here.
const (
	minISRKey      = "min.insync.replicas"
	cordonedDirKey = "cordoned.log.dirs"
)

// maxConfigValue is the longest value, in UTF-16 units in Apache: what a field
// of a client's response can carry.
const maxConfigValue = 32767

// configChange is what a request wants to do to one resource.
type configChange struct {
	resource image.Resource
	// write are the new values by key, nil to remove the key. Keys that change
	// nothing are left out, except of a broker's: a record for them makes the
	// broker read its key stores again (KAFKA-14136).
	write map[string]*string
	// drop are keys that are removed because they were not mentioned.
	drop []string
	err  *errors.Error
}

func configRecord(r image.Resource, key string, value *string) record.Message {
	return message(&record.ConfigRecord{ResourceType: int8(r.Type), ResourceName: r.Name, Name: key, Value: value})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// alterConfigs decides the changes of one request. Every resource is changed
// whole or not at all; the results are in the order of changes.
func alterConfigs(in Input, changes []*configChange, validateOnly bool) (Decision, []*errors.Error) {
	var records []record.Message
	results := make([]*errors.Error, len(changes))
	for i, c := range changes {
		if results[i] = checkConfigChange(in, c); results[i] != nil {
			continue
		}
		for _, key := range sortedKeys(c.write) {
			records = append(records, configRecord(c.resource, key, c.write[key]))
		}
		for _, key := range c.drop {
			records = append(records, configRecord(c.resource, key, nil))
		}
	}
	if validateOnly {
		return Decision{}, results
	}
	records = append(records, clearELR(in.Image, records)...)
	return Decision{Records: records, Atomic: true}, results
}

// clearELR are the records that empty the eligible leader replicas of topics
// whose min.insync.replicas changes: they were chosen by the old value (KIP-966).
//
// A partition whose ISR is empty keeps them, which Apache's controller does not:
// nobody leads it, so that nothing has been committed since they left the ISR, and
// without them nobody could ever lead it again.
func clearELR(im *image.Image, records []record.Message) []record.Message {
	if !im.ELREnabled() {
		return nil
	}
	var clear []record.Message
	for _, m := range records {
		r, ok := m.Record.(*record.ConfigRecord)
		if !ok || r.Name != minISRKey {
			continue
		}
		topic := "" // all topics
		if r.ResourceType == int8(image.ResourceTopic) {
			topic = r.ResourceName
		}
		clear = append(clear, clearELROf(im, topic)...)
	}
	return clear
}

// clearELROf clears a topic, or all topics if it is empty, by Apache's one record
// where no partition has to be left out.
func clearELROf(im *image.Image, topic string) []record.Message {
	var clear []record.Message
	kept := false
	for t := range im.Topics() {
		if topic != "" && t.Name != topic {
			continue // only configs of brokers and whole clusters are of all topics
		}
		for id, p := range t.Partitions() {
			switch {
			case len(p.ELR) == 0 && len(p.LastKnownELR) == 0:
			case len(p.ISR) == 0:
				kept = true
			default:
				r := record.NewPartitionChangeRecord()
				r.TopicID, r.PartitionID = t.ID, id
				r.EligibleLeaderReplicas, r.LastKnownELR = []kafka.BrokerID{}, []kafka.BrokerID{}
				clear = append(clear, record.Message{Record: r, Version: im.MetadataVersion().PartitionVersion()})
			}
		}
	}
	if kept {
		return clear
	}
	return []record.Message{message(&record.ClearElrRecord{TopicName: topic})}
}

// checkConfigChange is ConfigurationControlManager.validateAlterConfig.
func checkConfigChange(in Input, c *configChange) *errors.Error {
	if c.err != nil {
		return c.err
	}
	current := configValues(in.Image, c.resource)
	proposed := maps.Clone(current)
	for _, key := range sortedKeys(c.write) {
		if err := checkConfigWrite(in, c.resource, key, c.write[key]); err != nil {
			return err
		}
		if value := c.write[key]; value != nil {
			proposed[key] = *value
		} else {
			delete(proposed, key)
		}
	}
	for _, key := range c.drop {
		if err := checkConfigWrite(in, c.resource, key, nil); err != nil {
			return err
		}
		delete(proposed, key)
	}
	if err := checkResourceConfig(in, c.resource, proposed, current); err != nil {
		return err
	}
	return checkResourceExists(in, c.resource)
}

func configValues(im *image.Image, r image.Resource) map[string]string {
	if c := im.Config(r); c != nil {
		return c.Values()
	}
	return map[string]string{}
}

// checkConfigWrite holds the rules for single keys; a nil value removes.
func checkConfigWrite(in Input, r image.Resource, key string, value *string) *errors.Error {
	broker := r.Type == image.ResourceBroker
	switch {
	case value != nil && len(*value) > maxConfigValue:
		return errors.New(errors.InvalidConfig,
			"The configuration value cannot be added because it exceeds the maximum value size of %d bytes.", maxConfigValue)
	case broker && key == cordonedDirKey:
		return checkCordoned(in, r, value)
	case !broker || key != minISRKey || !in.Image.ELREnabled():
		return nil
	case r.Name != "":
		return errors.New(errors.InvalidConfig, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
	case value == nil:
		return errors.New(errors.InvalidConfig, "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
	}
	return nil
}

// checkCordoned: brokers know their directories and check what is cordoned
// before they forward it; who asks a controller directly may only take
// directories out (KIP-1066).
func checkCordoned(in Input, r image.Resource, value *string) *errors.Error {
	if in.Image.MetadataVersion().Before(image.MV43IV0) {
		return errors.New(errors.InvalidConfig,
			"The cordoned.log.dirs configuration value cannot be set because it requires metadata.version >= %s", image.MV43IV0)
	}
	if in.Caller.Forwarded || value == nil || strings.TrimSpace(*value) == "" {
		return nil
	}
	old, _ := in.Image.ConfigValue(r, cordonedDirKey)
	have := listItems(old)
	for _, dir := range listItems(*value) {
		if !slices.Contains(have, dir) {
			return errors.New(errors.InvalidConfig, "When updating cordoned.log.dirs via controllers,  "+
				"the new value must be a subset of the current configuration value.")
		}
	}
	return nil
}

func listItems(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// layers are the configs that a topic's or group's fall back to, as this
// controller sees them.
func (in Input) layers() config.Layers {
	own := image.Resource{Type: image.ResourceBroker, Name: strconv.Itoa(int(in.Settings.NodeID))}
	return config.Layers{
		Broker:  configValues(in.Image, own),
		Cluster: configValues(in.Image, image.Resource{Type: image.ResourceBroker}),
		Static:  in.Settings.Static,
	}
}

// checkResourceConfig checks all configs that a resource would have, and its
// name (ControllerConfigurationValidator).
func checkResourceConfig(in Input, r image.Resource, proposed, current map[string]string) *errors.Error {
	switch r.Type {
	case image.ResourceTopic:
		if r.Name == "" {
			return errors.New(errors.InvalidRequest, "Default topic resources are not allowed.")
		}
		if err := describe.TopicName(r.Name); err != nil {
			return err
		}
		return wireError(config.ValidateTopicChange(current, proposed, in.layers()))
	case image.ResourceBroker:
		return wireError(config.ValidateBrokerName(r.Name))
	case image.ResourceClientMetrics:
		return wireError(config.ValidateClientMetrics(r.Name, proposed))
	case image.ResourceGroup:
		if r.Name == "" {
			return errors.New(errors.InvalidRequest, "Default group resources are not allowed.")
		}
		return wireError(config.ValidateGroup(proposed, in.layers()))
	}
	return unexpectedType(r.Type)
}

// wireError turns a refusal of package config into a wire error.
func wireError(err error) *errors.Error {
	if err == nil {
		return nil
	}
	var refused *config.Error
	if !stderrors.As(err, &refused) {
		panic("controller: package config failed otherwise than by refusing: " + err.Error())
	}
	code := errors.InvalidConfig
	if refused.Kind == config.InvalidRequest {
		code = errors.InvalidRequest
	}
	return &errors.Error{Code: code, Message: refused.Text}
}

// checkResourceExists is QuorumController.ConfigResourceExistenceChecker. The
// name was checked before.
func checkResourceExists(in Input, r image.Resource) *errors.Error {
	switch {
	case r.Type == image.ResourceTopic && in.Image.TopicByName(r.Name) == nil:
		return errors.New(errors.UnknownTopicOrPartition, "The topic '%s' does not exist.", r.Name)
	case r.Type != image.ResourceBroker || r.Name == "":
		return nil
	}
	id, err := strconv.ParseInt(r.Name, 10, 32)
	if err != nil {
		return errors.New(errors.InvalidRequest, "Invalid broker name %s", r.Name)
	}
	if in.Image.Broker(kafka.BrokerID(id)) == nil && !slices.Contains(in.Settings.VoterIDs, kafka.NodeID(id)) {
		return errors.New(errors.BrokerIDNotRegistered, "No node with id %d found.", id)
	}
	return nil
}

// mayAlterConfig authorises one resource (ControllerApis.authorizeAlterResource).
func mayAlterConfig(c Caller, r image.Resource) *errors.Error {
	switch r.Type {
	case image.ResourceBroker, image.ResourceClientMetrics:
		if !c.may(opAlterConfigs, resourceCluster, clusterName) {
			return plain(errors.ClusterAuthorizationFailed)
		}
	case image.ResourceTopic:
		if !c.may(opAlterConfigs, resourceTopic, r.Name) {
			return plain(errors.TopicAuthorizationFailed)
		}
	case image.ResourceGroup:
		if !c.may(opAlterConfigs, resourceGroup, r.Name) {
			return plain(errors.GroupAuthorizationFailed)
		}
	default:
		return unexpectedType(r.Type)
	}
	return nil
}

// unexpectedType refuses what has a name but no configs here: BROKER_LOGGER,
// the levels of a Java process's loggers.
func unexpectedType(t image.ResourceType) *errors.Error {
	name := strconv.Itoa(int(t))
	if t == image.ResourceBrokerLogger {
		name = "BROKER_LOGGER"
	}
	return errors.New(errors.InvalidRequest, "Unexpected resource type %s.", name)
}

// knownType reports whether Kafka has a resource type of this number.
func knownType(t image.ResourceType) bool {
	switch t {
	case image.ResourceTopic, image.ResourceBroker, image.ResourceBrokerLogger, image.ResourceClientMetrics, image.ResourceGroup:
		return true
	}
	return false
}
