// Package gpu finds the GPUs of this machine and says which pool lends which of
// them. In go folders with CDI specifications and the program nvidia-smi, out
// come devices with their names of the Container Device Interface.
//
// It lends nothing, which is for package executors, and it changes nothing: a
// device is sliced by whoever runs the machine.
package gpu
