package compiler

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// An expansion is a stage whose unit has children: trials of another stage with parameters
// that its program chooses. See tenon.#Expansion.
type expansion struct {
	Stage  string            `json:"stage"`
	Inputs map[string]string `json:"inputs"`
}

// The library's programs that run a trainer with chosen parameters, and the parameter of
// theirs, beside those of the trainer.
const (
	trialProgram = "tenon_trial.py"
	studyProgram = "tenon_study.py"
	tunedProgram = "tenon_tuned.py"
	tuningField  = "tuning"
)

// askPrefix begins the name of what chooses the parameters of a round.
const askPrefix = "ask-"

// trialMargin is how much longer than a trial its program may take.
const trialMargin = 5 * time.Minute

// The ports between the units of an expansion.
const (
	nextPort  = "next"  // of what chooses: the parameters of one trial
	toldPort  = "told"  // all results so far
	trialPort = "trial" // of a trial: its result
)

// expand makes the units of an expanding stage, and lets the trained unit have the best parameters.
func (c *lowerer) expand(e *entity, s *stage, w work, units []ir.Unit) []ir.Unit {
	id := e.id() + "/" + s.Expands.Stage
	i := slices.IndexFunc(units, func(u ir.Unit) bool { return u.ID == id })
	if i < 0 {
		c.componentFault(e, &componentError{of: e.component, field: s.at("expands.stage"), message: fmt.Sprintf("expands a stage %q that does not exist", s.Expands.Stage)})
		return units
	}
	c.checkSearched(e, s, w.fields, c.blobs[units[i].Code.Lock])
	chooser := *s
	chooser.inputs, chooser.outputs = []stageInput{}, []stageOutput{}
	study := c.lowerStage(e, &chooser, w)
	study.Outputs = append(stageOutputs(e, s), ir.Output{Port: "study", Kind: ir.File})
	bounds := boundsOf(w.fields)
	study.Expansion = &bounds
	space, _ := w.fields.get("space").(object)
	for _, f := range space { // what the model declares there is not what it is trained with
		units[i].Params = withoutParam(units[i].Params, strings.Split(f.name, "."))
	}
	child, how := c.trial(e, s, units[i], bounds)
	if w.fields.get("isolated") == true {
		c.wrap(e, &child, trialProgram, how)
		units = append(units, isolated(study, child)...)
	} else {
		units = append(units, c.together(e, study, child, how))
	}
	c.wrap(e, &units[i], tunedProgram, map[string]any{})
	return units
}

// chooserFolder has the program that chooses parameters, in the code folder of a study whose trials
// are processes.
const chooserFolder = libraryFolder + "/chooser/"

// together returns the unit of a study whose trials are its processes: it has the code, the environment
// and the needs of the unit that trains, and what chooses parameters beside that.
func (c *lowerer) together(e *entity, study, child ir.Unit, how map[string]any) ir.Unit {
	b, u := study.Expansion, child
	u.ID, u.Component, u.Outputs, u.Expansion = study.ID, study.Component, study.Outputs, b
	how["trials"] = b.Children
	how["chooser"] = map[string]any{
		"script": strings.Replace(study.Code.Command[0], libraryFolder+"/", path.Base(chooserFolder)+"/", 1), "environment": study.Code.Lock, "params": study.Params,
	}
	c.wrap(e, &u, studyProgram, how)
	for _, f := range study.Code.Files {
		if name, own := strings.CutPrefix(f.Path, libraryFolder+"/"); own {
			u.Code.Files = append(u.Code.Files, ir.CodeFile{Path: chooserFolder + name, Digest: f.Digest})
		}
	}
	sortCode(&u.Code)
	u.Code.Environments = []string{study.Code.Lock}
	rounds := (b.Children + b.Parallel - 1) / b.Parallel
	u.Timeout = time.Duration(rounds)*b.Timeout + trialMargin
	u.Checkpoints = 1
	return u
}

// isolated returns the units of a study whose trials are units: in each round one that chooses
// parameters from all results so far, then the trials of that round; and at the end one that
// chooses the best.
//
// All units are known before anything runs, so that everything that handles units handles
// trials. Only the parameters are data: outputs of a unit, which enter the keys of trials.
func isolated(study, child ir.Unit) (units []ir.Unit) {
	b := study.Expansion
	var previous []ir.Input // what a unit that chooses reads from the round before
	for first := 1; first <= b.Children; first += b.Parallel {
		round := (first-1)/b.Parallel + 1
		ask := study
		ask.ID = fmt.Sprintf("%s/%s%03d", study.ID, askPrefix, round)
		ask.Parent, ask.Expansion = study.ID, nil
		ask.Params = withParam(study.Params, "round", round)
		ask.Inputs = previous
		ask.Outputs = []ir.Output{{Port: toldPort, Kind: ir.File}}
		previous = []ir.Input{{Port: toldPort, Unit: ask.ID, From: toldPort, Kind: ir.File}}
		// A round that is cut off asks for a whole one, too: with more trials, it is the same.
		for place := 1; place <= b.Parallel; place++ {
			next := nextPort + "_" + strconv.Itoa(place)
			ask.Outputs = append(ask.Outputs, ir.Output{Port: next, Kind: ir.File})
			number := first + place - 1
			if number > b.Children {
				continue
			}
			u := child
			u.ID, u.Parent, u.Child = fmt.Sprintf("%s/%03d", study.ID, number), study.ID, number
			u.Inputs = append(slices.Clone(child.Inputs), ir.Input{Port: nextPort, Unit: ask.ID, From: next, Kind: ir.File})
			units = append(units, u)
			previous = append(previous, ir.Input{Port: trialPort + "_" + strconv.Itoa(place), Unit: u.ID, From: trialPort, Kind: ir.File})
		}
		units = append(units, ask)
	}
	study.Inputs = previous
	return append(units, study)
}

// boundsOf returns the bounds of a study from the fields of tune.#Any.
func boundsOf(fields object) ir.Expansion {
	b := ir.Expansion{
		Children: int(whole(fields.get("trials"))), Parallel: int(whole(fields.get("parallel"))),
		Timeout: duration.Parse(stringOf(fields.get("trial_timeout"))),
	}
	if stringOf(fields.get("sampler")) == "grid" {
		space, _ := fields.get("space").(object)
		b.Children = min(b.Children, combinations(space, b.Children))
	}
	return b
}

// trial returns what the trials of a study share: the unit that trains, with the rows of the
// study, a result in place of a model, and one node; and the parameter of its program.
func (c *lowerer) trial(e *entity, s *stage, u ir.Unit, b ir.Expansion) (ir.Unit, map[string]any) {
	run := *e.component.stage(s.Expands.Stage)
	run.inputs = nil
	for port, from := range s.Expands.Inputs {
		run.inputs = append(run.inputs, stageInput{port: port, From: from})
	}
	slices.SortFunc(run.inputs, func(a, b stageInput) int { return strings.Compare(a.port, b.port) })
	u.Inputs = c.stageInputs(e, &run)
	signature := u.Outputs[0].Signature.Bare()
	u.Outputs = []ir.Output{{Port: trialPort, Kind: ir.File}}
	u.Needs.Nodes = 0
	// The program ends a trial in time and records that; this is for a program that hangs itself.
	u.Timeout = b.Timeout + trialMargin
	fields, _ := e.fields.at(s.Part).(object)
	return u, map[string]any{
		"metric": fields.get("metric"), "seconds": b.Timeout.Seconds(), "output": u.Outputs[0].Port, "signature": signature,
	}
}

// wrap makes a program of the library run that of a unit.
func (c *lowerer) wrap(e *entity, u *ir.Unit, program string, param map[string]any) {
	param["main"] = strings.TrimPrefix(u.Code.Command[0], libraryFolder+"/")
	u.Params = withParam(u.Params, tuningField, param)
	u.Code.Command = []string{libraryFolder + "/" + program}
	sources, err := librarySources(program)
	if err != nil {
		c.internal(fmt.Errorf("%s: %w", e, err))
		return
	}
	u.Code.Files = slices.Concat(u.Code.Files, c.listed(sources))
	sortCode(&u.Code)
}

// withoutParam returns parameters without the one at a path, if there is one.
func withoutParam(params json.RawMessage, path []string) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(params, &all) != nil || all[path[0]] == nil {
		return params // the path leads nowhere
	}
	if len(path) == 1 {
		delete(all, path[0])
	} else {
		all[path[0]] = withoutParam(all[path[0]], path[1:])
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("compiler: parameters that it made are not JSON: %v", err))
	}
	return b
}

// withParam returns parameters with one more.
func withParam(params json.RawMessage, name string, value any) json.RawMessage {
	all := map[string]json.RawMessage{}
	if len(params) > 0 {
		if err := json.Unmarshal(params, &all); err != nil {
			panic(fmt.Sprintf("compiler: parameters that it made are not JSON: %v", err))
		}
	}
	one, err := json.Marshal(plain(value))
	if err == nil {
		all[name] = one
		params, err = json.Marshal(all)
	}
	if err != nil {
		panic(fmt.Sprintf("compiler: plain data does not marshal: %v", err))
	}
	return params
}
