package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/kafka"
)

// dirFlags name log directories.
type dirFlags struct {
	config string
	dirs   []string
}

func (f *dirFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "the broker's server.properties, for its log.dirs")
	cmd.Flags().StringArrayVar(&f.dirs, "dir", nil, "log directory; may be given more than once")
	cmd.MarkFlagsMutuallyExclusive("config", "dir")
	cmd.MarkFlagsOneRequired("config", "dir")
}

func (f *dirFlags) logDirs() ([]string, error) {
	if f.config == "" {
		return f.dirs, nil
	}
	node, err := readNode(f.config)
	if err != nil {
		return nil, err
	}
	return node.LogDirs, nil
}

func storageLocate() *cobra.Command {
	var dirs dirFlags
	var out output
	var topic, id string
	var partition int32
	var offset int64
	cmd := &cobra.Command{
		Use: "locate", Short: "Say which file, index entry and byte hold a record", Args: cobra.NoArgs,
		Long: "Locate goes the way of a read: the topic and partition name a directory, the offset a segment\n" +
			"(the last whose base offset is not after it), the segment's index the last entry that is not\n" +
			"after it, that entry a position, from where batches are read up to the one with the offset.\n" +
			"It reads files alone, so the broker may run. With --topic-id the directory is found by the id\n" +
			"in partition.metadata.",
		Example: "  kvorum storage locate --topic orders --partition 0 --offset 1234 -c server.properties\n" +
			"  kvorum storage locate --topic orders --partition 0 --offset 1234 --dir /var/lib/kvorum/data -o json\n" +
			"  kvorum storage locate --topic-id 4L6g3nShT-eMCtK--X86sw --partition 0 --offset 0 --dir /var/lib/kvorum/data",
		RunE: func(cmd *cobra.Command, _ []string) error {
			logDirs, err := dirs.logDirs()
			if err != nil {
				return err
			}
			l := admin.Locate{LogDirs: logDirs, Topic: topic, Partition: kafka.PartitionID(partition), Offset: kafka.Offset(offset)}
			if id != "" {
				if l.TopicID, err = kafka.ParseUUID(id); err != nil {
					return usageError("--topic-id: " + err.Error())
				}
			}
			where, err := l.Run()
			if err != nil {
				return err
			}
			return out.print(cmd, where, locationRows(where))
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "name of the topic")
	cmd.Flags().StringVar(&id, "topic-id", "", "id of the topic, instead of its name")
	cmd.Flags().Int32Var(&partition, "partition", 0, "number of the partition")
	cmd.Flags().Int64Var(&offset, "offset", 0, "offset of the record")
	cmd.MarkFlagsOneRequired("topic", "topic-id")
	cmd.MarkFlagsMutuallyExclusive("topic", "topic-id")
	must(cmd.MarkFlagRequired("partition"))
	must(cmd.MarkFlagRequired("offset"))
	dirs.add(cmd)
	out.add(cmd)
	return cmd
}

// locationRows tell the way, one step a line.
func locationRows(w *admin.Location) [][]string {
	entry := "none before it: from the beginning of the file"
	if w.IndexOffset >= 0 {
		entry = fmt.Sprintf("offset %d is at position %d", w.IndexOffset, w.IndexPosition)
	}
	record := fmt.Sprintf("number %d in the batch, timestamp %s, key %s, value %s", w.Record, time.UnixMilli(w.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z"), lengthText(w.KeyBytes), lengthText(w.ValueBytes))
	if !w.Found {
		record = fmt.Sprintf("offset %d was compacted away; this is what follows it", w.Offset)
	}
	return [][]string{
		{"STEP", "WHERE"},
		{"topic", fmt.Sprintf("%s (id %s)", w.Topic, orDash(w.TopicID))},
		{"directory", w.Directory},
		{"segment", fmt.Sprintf("%s, which begins with offset %d", filepath.Base(w.File), w.Segment)},
		{"index", fmt.Sprintf("%s: %s", filepath.Base(w.Index), entry)},
		{"batch", fmt.Sprintf("position %d, %d bytes, offsets %d to %d, leader epoch %d, compression %s", w.Position, w.Size, w.First, w.Last, w.Epoch, w.Codec)},
		{"record", record},
	}
}

func lengthText(n int) string {
	if n < 0 {
		return "null"
	}
	return fmt.Sprintf("%d bytes", n)
}
