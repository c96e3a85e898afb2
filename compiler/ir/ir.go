package ir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Version is the version of the representation. It is raised when an older
// reader would misread a newer document.
const Version = 1

// A System is one compiled system. Units are sorted by ID and form an acyclic
// graph through their inputs.
type System struct {
	Version int    `json:"ir"`
	Name    string `json:"name"`
	Env     string `json:"env,omitempty"` // the environment it was compiled for, "" for the one without a name
	Target  Target `json:"target"`
	Pools   []Pool `json:"pools,omitempty"`
	Budget  Budget `json:"budget,omitzero"`
	// Tracking is where runs are sent to besides the state, or nil. No unit depends on it.
	Tracking *Tracking `json:"tracking,omitempty"`
	Moved    []Move    `json:"moved,omitempty"` // in the order of execution
	Units    []Unit    `json:"units"`
	// Entities lists the declared entities except for targets, sorted by ID. A system
	// that an earlier version stored has none.
	Entities []Entity `json:"entities,omitempty"`
}

// A Move is a rename of an entity or a unit.
type Move struct {
	From string `json:"from"` // "models/late"
	To   string `json:"to"`
}

// A Fault is a field of a unit that an executor cannot honour.
type Fault struct {
	Field   string // as the user wrote it: "needs.gpu"; "" is all of the unit or the target
	Message string
	Hint    string
	Target  bool // the field is one of the target
	Note    bool // it works, but perhaps not as the user expects
}

// Unit returns the unit with the given id, or nil.
func (s *System) Unit(id string) *Unit {
	for i := range s.Units {
		if s.Units[i].ID == id {
			return &s.Units[i]
		}
	}
	return nil
}

// RunsImages reports whether a unit of the system runs in an image: all do if the target has a base.
func (s *System) RunsImages() bool {
	return s.Target.Base() != "" || slices.ContainsFunc(s.Units, func(u Unit) bool { return u.Code.Image != "" })
}

// A Target binds the system to an executor and its settings.
type Target struct {
	Name     string         `json:"name"`
	Executor string         `json:"executor"`
	Settings map[string]any `json:"settings,omitempty"`
}

// Base returns the image on which the images of units are built, or "" if the target runs
// no images.
func (t Target) Base() string {
	base, _ := t.Settings["base"].(string)
	return base
}

// A Pool is a named amount of resources that units draw from. Its GPUs are lent whole,
// each in equal shares, or each in slices.
type Pool struct {
	Name   string `json:"name"`
	Target string `json:"target,omitempty"` // that has it, "" if all do
	Resources
	Shares int64   `json:"gpu_shares,omitempty"` // of each device
	Slices []Slice `json:"gpu_slices,omitempty"` // of each device, sorted by name
	Teams  []Team  `json:"teams,omitempty"`      // sorted by name
	Price  *Price  `json:"price,omitempty"`
}

// A Slice is a part of a device with its own memory.
type Slice struct {
	Name   string `json:"name"`   // "1g.10gb"
	Count  int64  `json:"count"`  // on each device
	Memory int64  `json:"memory"` // bytes, of each
}

// A Team is a group of units with a guarantee in a pool.
type Team struct {
	Name   string `json:"name"`
	GPU    int64  `json:"gpu,omitempty"`    // guaranteed parts, see [Pool.Lends]
	Borrow bool   `json:"borrow,omitempty"` // may use idle parts beyond that
	Yields bool   `json:"yields,omitempty"` // what it borrows is reclaimed
}

// Resources are exact amounts: thousandths of a core, bytes, devices. Zero means that
// none are requested or, for a pool, that it has none.
type Resources struct {
	MilliCPU  int64  `json:"milli_cpu,omitempty"`
	Memory    int64  `json:"memory,omitempty"`     // bytes
	Disk      int64  `json:"disk,omitempty"`       // bytes a unit may write
	PIDs      int64  `json:"pids,omitempty"`       // processes and threads a unit may have; pools do not limit them
	GPU       int64  `json:"gpu,omitempty"`        // devices, or parts of devices
	GPUMemory int64  `json:"gpu_memory,omitempty"` // bytes, of each
	GPUModel  string `json:"gpu_model,omitempty"`
	GPUSlice  string `json:"gpu_slice,omitempty"` // which slice a unit wants
	Nodes     int64  `json:"nodes,omitempty"`     // machines on which a unit has all the other amounts at once; 0 means one
}

// Kind is the lifecycle of a unit.
type Kind string

const (
	Job     Kind = "job"     // runs to completion and leaves artifacts
	Service Kind = "service" // stays up until replaced or destroyed
	Record  Kind = "record"  // is written: a rule file, a registry entry
)

// A Unit is a node of the graph.
type Unit struct {
	ID        string          `json:"id"`        // "models/late/train"
	Entity    string          `json:"entity"`    // "models/late"
	Kind      Kind            `json:"kind"`      //
	Component string          `json:"component"` // "train.sklearn"
	Code      Code            `json:"code"`
	Params    json.RawMessage `json:"params,omitempty"` // a JSON object with sorted keys
	Files     []string        `json:"files,omitempty"`  // data read: paths or globs, relative to the system's folder
	Inputs    []Input         `json:"inputs,omitempty"`
	Outputs   []Output        `json:"outputs,omitempty"`
	Secrets   []Secret        `json:"secrets,omitempty"`
	Seed      int64           `json:"seed,omitempty"`
	// Looks is the field that names its data, if its program can compare the columns of
	// that with its output without reading it. It is in no digest.
	Looks string `json:"looks,omitempty"`

	Needs    Resources     `json:"needs,omitzero"`
	Pool     string        `json:"pool,omitempty"`
	AnyOf    []string      `json:"any_of,omitempty"`   // the pools from which its pool was chosen
	Team     string        `json:"team,omitempty"`     // whose GPUs it uses
	Priority int           `json:"priority,omitempty"` // among waiting units: higher first
	Retries  int           `json:"retries,omitempty"`
	Timeout  time.Duration `json:"timeout_ns,omitempty"`
	// Checkpoints is how many checkpoints a job keeps, from the newest of which another attempt resumes. 0 means
	// that it has none. It is in no digest: a result does not depend on how often it was resumed.
	Checkpoints int     `json:"checkpoints,omitempty"`
	Network     Network `json:"network,omitempty"`
	// Kubernetes is the placement in a cluster.
	Kubernetes *Placement    `json:"kubernetes,omitempty"`
	MaxAge     time.Duration `json:"max_age_ns,omitempty"` // an older result is recomputed
	Endpoint   *Endpoint     `json:"endpoint,omitempty"`   // services that listen
	Keeps      string        `json:"keeps,omitempty"`      // the field that makes a service keep files for later versions
	Ships      Shipments     `json:"ships,omitempty"`      // what of that an executor may store elsewhere; none if it needs the folder itself
	Release    *Release      `json:"release,omitempty"`    // how a new version of a service replaces the current one; in no digest
	Monitor    *Monitor      `json:"monitor,omitempty"`    // what a record says is measured
	Loop       *Loop         `json:"loop,omitempty"`       // what a record says calls for trainings
	// Parent is the expansion that the unit belongs to, and Child its number among the children, from 1. What chooses
	// the parameters of children has a Parent and no number. Neither is in a digest, so that a child is found again
	// by what it does.
	Parent string `json:"parent,omitempty"`
	Child  int    `json:"child,omitempty"`
	// Expansion bounds the children of a unit.
	Expansion *Expansion `json:"expansion,omitempty"`
	// MachineFiles are the fields with paths of files of the machine that runs it.
	MachineFiles []string `json:"machine_files,omitempty"`
	Pos          Pos      `json:"pos"`    // where the entity is declared
	Digest       string   `json:"digest"` // of the definition, see [Unit.Define]
}

// An Expansion bounds the units that a unit expands to.
type Expansion struct {
	Children int           `json:"children"`   // at most
	Parallel int           `json:"parallel"`   // how many of them run at once, at most
	Timeout  time.Duration `json:"timeout_ns"` // of the program of each child, at most
}

// A Shipment is a folder, in the one that a service keeps, of files that never change once they
// have their names. Nothing but such files is kept, so an executor may move them to a store and
// remove them.
type Shipment struct {
	Folder string `json:"folder"`
	Most   int64  `json:"most"` // bytes of all files of all replicas; the oldest are removed
}

// Shipments have different folders.
type Shipments []Shipment

// UnmarshalJSON also reads the single shipment that units of earlier versions have.
func (s *Shipments) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte("{")) {
		*s = make(Shipments, 1)
		return json.Unmarshal(b, &(*s)[0])
	}
	return json.Unmarshal(b, (*[]Shipment)(s))
}

// Of returns the shipment of a folder, or nil.
func (s Shipments) Of(folder string) *Shipment {
	i := slices.IndexFunc(s, func(x Shipment) bool { return x.Folder == folder })
	if i < 0 {
		return nil
	}
	return &s[i]
}

// Draws returns what the unit takes from its pool: its needs on all nodes.
func (u *Unit) Draws() Resources {
	r, n := u.Needs, max(u.Needs.Nodes, 1)
	for _, amount := range []*int64{&r.MilliCPU, &r.Memory, &r.Disk, &r.GPU} {
		if *amount > beyond/n {
			*amount = beyond
		} else {
			*amount *= n
		}
	}
	return r
}

// SecretField returns where the user wrote the secret: "secrets.TOKEN", or "dsn".
func (u *Unit) SecretField(s Secret) string {
	if strings.HasPrefix(u.Entity, "sources/") {
		return strings.ToLower(s.Name)
	}
	return "secrets." + s.Name
}

// beyond exceeds what any pool has, and can be added to without overflow.
const beyond = 1 << 62

// HasArtifacts reports whether the unit leaves more than an address.
func (u *Unit) HasArtifacts() bool {
	return slices.ContainsFunc(u.Outputs, func(o Output) bool { return o.Kind != EndpointOf })
}

// SplitID splits an id such as "models/late/train" into entity and stage: "models/late",
// "train".
func SplitID(id string) (entity, stage string) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) == 3 {
		return parts[0] + "/" + parts[1], parts[2]
	}
	return id, ""
}

// Code is what a unit runs.
type Code struct {
	Runtime Runtime    `json:"runtime"`
	Source  string     `json:"source,omitempty"`  // digest of the library's sources in Go that run
	DuckDB  string     `json:"duckdb,omitempty"`  // field for which it starts tenon-duck itself, at the path in $TENON_DUCK
	Python  string     `json:"python,omitempty"`  // version of the interpreter, "3.11"
	Lock    string     `json:"lock,omitempty"`    // digest of the locked Python environment, a blob
	Image   string     `json:"image,omitempty"`   // reference of the container image that the user named
	Command []string   `json:"command,omitempty"` // argv; for Python and Plane, the script and its arguments
	Files   []CodeFile `json:"files,omitempty"`   // written to the unit's code folder

	// Environments are digests of the locks of further environments, in which the unit starts
	// programs.
	Environments []string `json:"environments,omitempty"`
}

// Runtime is how code is started.
type Runtime string

const (
	Builtin Runtime = "builtin" // by tenon itself, as "tenon step"
	Python  Runtime = "python"  // by the interpreter of a locked environment
	Command Runtime = "command" // as any program
	Plane   Runtime = "plane"   // by tenon-serve, which starts workers in a locked environment if the model needs Python

	// PlaneDuckDB is a Plane by tenon-duck, which also has DuckDB and can load ONNX Runtime.
	PlaneDuckDB Runtime = "plane-duckdb"
)

// Serves reports whether a program of Tenon answers predictions.
func (r Runtime) Serves() bool { return r == Plane || r == PlaneDuckDB }

// A CodeFile is one file of a unit's code. Its content is a blob.
type CodeFile struct {
	Path   string `json:"path"` // slash-separated, relative to the code folder
	Digest string `json:"digest"`
}

// PortKind is the type of the data or endpoint that units exchange.
type PortKind string

const (
	Table      PortKind = "table"    // Parquet, with a schema
	Model      PortKind = "model"    // a folder, with a signature
	Report     PortKind = "report"   // a folder with report.json
	EndpointOf PortKind = "endpoint" // a running service
	LoopOf     PortKind = "loop"     // decisions, whose record is in the state
	MonitorOf  PortKind = "monitor"  // verdicts, which are in the state
	File       PortKind = "file"     // any file or folder
)

// An Input binds a port to the output of another unit.
type Input struct {
	Port string   `json:"port"`
	Unit string   `json:"unit"` // the producer
	From string   `json:"from"` // its port
	Kind PortKind `json:"kind"`
	// Incumbent requests the newest registered version of the producer's model that
	// differs from the candidate on port "model". It may not exist, and it adds no edge
	// to the graph.
	Incumbent bool `json:"incumbent,omitempty"`
	// Advisory inputs do not enter the run key: another value alone is no reason to run
	// the unit again.
	Advisory bool `json:"advisory,omitempty"`
	// Checked inputs are read by the verification of the outputs only, see [Reference].
	// The program does not get them.
	Checked   bool     `json:"checked,omitempty"`
	Schema    Schema   `json:"schema,omitempty"`
	Keys      []string `json:"keys,omitempty"`      // tables: the entity keys
	Timestamp string   `json:"timestamp,omitempty"` // tables: the event time
}

// An Output is a port that a unit fills.
type Output struct {
	Port      string   `json:"port"`
	Kind      PortKind `json:"kind"`
	Schema    Schema   `json:"schema,omitempty"`    // tables
	Keys      []string `json:"keys,omitempty"`      // tables: the entity keys
	Timestamp string   `json:"timestamp,omitempty"` // tables: the event time
	// References are the foreign keys of a table.
	References []Reference `json:"references,omitempty"`
	Signature  *Signature  `json:"signature,omitempty"` // models
	Request    Schema      `json:"request,omitempty"`   // endpoints: one row of a request
	Response   Schema      `json:"response,omitempty"`  // endpoints: the response to one row
}

// A Reference is a foreign key: the values of some columns occur together in columns of
// another table, or of the same one. A row with a null in one of them refers to nothing.
type Reference struct {
	Columns []string `json:"columns"`
	Keys    []string `json:"keys"` // the columns that they refer to, in the same order
	// The table is on an input with Checked, or it is an output of the same unit.
	Input  string `json:"input,omitempty"`
	Output string `json:"output,omitempty"`
}

// A Schema is the ordered columns of a table.
type Schema []Column

// Column returns the column of that name, or nil.
func (s Schema) Column(name string) *Column {
	for i := range s {
		if s[i].Name == name {
			return &s[i]
		}
	}
	return nil
}

// A Column describes one column. Unit, Description and Private do not affect results, see
// [Schema.Bare].
type Column struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // one of [Types]
	Nullable bool     `json:"nullable,omitempty"`
	Unique   bool     `json:"unique,omitempty"`
	Min      Bound    `json:"min,omitempty"` // of numbers and times
	Max      Bound    `json:"max,omitempty"`
	Values   []string `json:"values,omitempty"` // strings only: the allowed values
	NaN      bool     `json:"nan,omitempty"`    // floats only: NaN is a value; otherwise it is missing
	JSON     bool     `json:"json,omitempty"`   // strings only: the text is JSON

	Unit        string `json:"unit,omitempty"` // "EUR"
	Description string `json:"description,omitempty"`

	// Private tells that no log or report may show its values, and Public that they may,
	// whatever they are computed from. Neither affects results.
	Private bool `json:"private,omitempty"`
	Public  bool `json:"public,omitempty"`
}

// bare returns the column without documentation.
func (c Column) bare() Column {
	c.Unit, c.Description, c.Private, c.Public = "", "", false, false
	return c
}

// Bare returns the schema without documentation.
func (s Schema) Bare() Schema {
	if !slices.ContainsFunc(s, func(c Column) bool { return c.Unit != "" || c.Description != "" || c.Private || c.Public }) {
		return s
	}
	out := make(Schema, len(s))
	for i, c := range s {
		out[i] = c.bare()
	}
	return out
}

// Bare returns the signature without documentation, or nil if there is none.
func (s *Signature) Bare() *Signature {
	if s == nil {
		return nil
	}
	return &Signature{Task: s.Task, Input: s.Input.Bare(), Output: s.Output.bare()}
}

// Types maps the column types to DuckDB's names.
var Types = map[string]string{
	"bool": "BOOLEAN",
	"int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT",
	"uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
	"float32": "FLOAT", "float64": "DOUBLE",
	"string": "VARCHAR", "bytes": "BLOB",
	"date": "DATE", "time": "TIME", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE",
}

// A Signature is the input and output of a model, one row at a time.
type Signature struct {
	Task   string `json:"task"` // "classification" or "regression"
	Input  Schema `json:"input"`
	Output Column `json:"output"` // the label
}

// A Secret is a reference that is resolved where the unit runs.
type Secret struct {
	Name string `json:"name"`           // the environment variable that the step reads
	Env  string `json:"env,omitempty"`  // taken from this variable of tenon's environment
	File string `json:"file,omitempty"` // or from this file
	// Kubernetes is the key of a Secret of the cluster, if the secret is taken from
	// there. Only the cluster resolves it.
	Kubernetes *SecretKey `json:"kubernetes,omitempty"`
	As         As         `json:"as,omitempty"`
}

// A SecretKey is one value of a Secret of a cluster.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// As is how a step receives a secret.
type As string

const (
	AsVariable As = ""     // in the environment variable Name
	AsFile     As = "file" // in a file in memory; the variable Name holds its path
)

// Network is what a unit may reach. A service can always listen, and a unit that reads an
// endpoint can always reach it.
type Network string

const (
	NetworkUnsaid Network = ""     // as little as the executor can grant
	NetworkNone   Network = "none" // nothing, or the unit must not run
	NetworkOpen   Network = "open" // whatever the machine reaches
)

// An Endpoint is where a service listens.
type Endpoint struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Ready    string `json:"ready"`    // path that answers 200 once ready
	Replicas int    `json:"replicas"` // minimum, if there is a Scale
	Scale    *Scale `json:"scale,omitempty"`
	TLS      bool   `json:"tls,omitempty"` // it speaks HTTPS
	// Management is another port of the service, without TLS, for whoever operates it. If there
	// is one, Ready is a path there.
	Management *Listen `json:"management,omitempty"`
	// Counts is the field with limits of callers that each process counts for itself, or "".
	Counts string `json:"counts,omitempty"`
}

// A Listen is an address that a service listens on besides its own.
type Listen struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// A Scale adapts the replicas of a service to its load.
type Scale struct {
	Max int `json:"max"` // maximum number of replicas
	CPU int `json:"cpu"` // target average usage, in percent of Needs.MilliCPU
	// InFlight is the target average number of requests in flight at each replica. Where it is 0,
	// replicas follow CPU alone, and there is always one.
	InFlight int `json:"in_flight,omitempty"`
	// Idle is how long fewer replicas have to be enough before there are fewer. With InFlight, it
	// is never 0.
	Idle time.Duration `json:"idle_ns,omitempty"`
}

// A Placement configures pods besides their needs. Names refer to objects of the cluster.
type Placement struct {
	NodeSelector   map[string]string `json:"node_selector,omitempty"`
	Tolerations    []Toleration      `json:"tolerations,omitempty"`
	PriorityClass  string            `json:"priority_class,omitempty"`
	Queue          string            `json:"queue,omitempty"` // of Kueue
	ServiceAccount string            `json:"service_account,omitempty"`
	Token          bool              `json:"token,omitempty"` // mount the service account's token for the program
	Labels         map[string]string `json:"labels,omitempty"`
	Annotations    map[string]string `json:"annotations,omitempty"`
	Expose         *Exposure         `json:"expose,omitempty"` // of a service with an endpoint
}

// An Exposure makes a service reachable from outside of its cluster.
type Exposure struct {
	Host        string            `json:"host"`
	Path        string            `json:"path,omitempty"`    // prefix of all paths; "" is "/"
	TLS         string            `json:"tls,omitempty"`     // the Secret with the certificate of an Ingress
	Class       string            `json:"class,omitempty"`   // of an Ingress
	Gateway     string            `json:"gateway,omitempty"` // for an HTTPRoute: "NAME" or "NAMESPACE/NAME"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A Toleration allows pods on nodes with a taint. Empty fields match anything.
type Toleration struct {
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect,omitempty"`
}

// Pos is a place in the user's sources. It never enters a digest.
type Pos struct {
	File string `json:"file"` // relative to the system's folder
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }
