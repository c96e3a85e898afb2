// Package gpu finds the GPUs of this machine and assigns them to pools. The inputs are
// folders with CDI specifications and the program nvidia-smi. The output is a list of
// devices with their names in the Container Device Interface (CDI).
//
// The package does not lend devices to units, which package executors does. It changes
// nothing: the administrator of the machine slices devices.
package gpu
