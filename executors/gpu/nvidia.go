package gpu

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// nvidia is the CDI kind of NVIDIA's devices.
const nvidia = "nvidia.com/gpu"

// patience is how long nvidia-smi may take: it may have to start the driver.
const patience = 30 * time.Second

// A card is a GPU as reported by nvidia-smi.
type card struct {
	index, uuid, model string
	memory             int64 // bytes, 0 if unknown
	slices             []mig
}

// A mig is a slice (MIG instance) of a card.
type mig struct{ index, uuid, profile string }

// askNvidia lists NVIDIA's GPUs. A machine without nvidia-smi has none.
func askNvidia(ctx context.Context, program string) ([]card, error) {
	if program == "" {
		var err error
		if program, err = exec.LookPath("nvidia-smi"); err != nil {
			return nil, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	table, err := ask(ctx, program, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
	if err != nil || noDevices(table) {
		return nil, err
	}
	cards, err := parseTable(table)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	list, err := ask(ctx, program, "-L")
	if err != nil {
		return nil, err
	}
	parseList(list, cards)
	return cards, nil
}

// ask runs nvidia-smi. Exit status 6 means that it found no device.
func ask(ctx context.Context, program string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 6 {
		return nil, nil
	}
	if err != nil {
		said := strings.TrimSpace(string(out))
		if ended != nil {
			said = strings.TrimSpace(said + "\n" + string(ended.Stderr))
		}
		return nil, fmt.Errorf("%s: %w\n%s", program, err, said)
	}
	return out, nil
}

func noDevices(out []byte) bool {
	return len(bytes.TrimSpace(out)) == 0 || bytes.HasPrefix(out, []byte("No devices were found"))
}

// parseTable parses rows of index, UUID, name and memory in MiB. Some devices do not
// report their memory.
func parseTable(out []byte) ([]card, error) {
	r := csv.NewReader(bytes.NewReader(out))
	r.TrimLeadingSpace, r.FieldsPerRecord = true, 4
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	var cards []card
	for _, row := range rows {
		if _, err := strconv.Atoi(row[0]); err != nil || !strings.HasPrefix(row[1], "GPU-") {
			return nil, fmt.Errorf("cannot parse the line %q", strings.Join(row, ", "))
		}
		mib, _ := strconv.ParseInt(row[3], 10, 32)
		cards = append(cards, card{index: row[0], uuid: row[1], model: row[2], memory: mib << 20})
	}
	return cards, nil
}

var (
	cardLine = lazyregexp.New(`^GPU (\d+): `)
	migLine  = lazyregexp.New(`^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-\S+)\)`)
)

// parseList adds the slices to cards. The table does not list them.
func parseList(out []byte, cards []card) {
	var of *card
	for line := range strings.Lines(string(out)) {
		if m := cardLine.FindStringSubmatch(line); m != nil {
			of = nil
			for i := range cards {
				if cards[i].index == m[1] {
					of = &cards[i]
				}
			}
		} else if m := migLine.FindStringSubmatch(line); m != nil && of != nil {
			of.slices = append(of.slices, mig{index: m[2], uuid: m[3], profile: m[1]})
		}
	}
}
