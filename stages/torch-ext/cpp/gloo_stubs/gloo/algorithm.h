// The wheels of PyTorch ship c10d's header of Gloo and not Gloo's own. What c10d's header names is declared here and in
// the files beside this one; every use of it is compiled inside libtorch.
#pragma once
