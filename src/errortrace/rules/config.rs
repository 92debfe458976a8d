//! Packages, files, models, settings.

use super::{Rule, RuleClass::Config, RuleClass::Unknown};
use crate::errortrace::advice::{
    CHAT_TEMPLATE, CHECK_DATA, CHECK_IDS, CHECK_MODEL, CHECK_PATH, COMPILER, DOWNLOAD_AGAIN,
    FEWER_PASSAGES, FIX_CODE, FIX_CONFIG, FULL_PRECISION, INSTALL, LOGIN, LOWER_LR, OFFLINE,
    PIN_VERSIONS, TRUST_CODE,
};

pub(super) const DEPENDENCIES: &[Rule] = &[
    Rule::new("compiler", Config, r"Failed to find C compiler|fatal error: Python\.h|cannot find -l\w+|\b(?:gcc|g\+\+|cc|c\+\+): (?:command )?not found")
        .alone()
        .says("A kernel had to be compiled, and the compiler, its headers or a library it links are missing.")
        .advice(&[COMPILER])
        .like(&[
            "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
            "/usr/bin/ld: cannot find -lcuda: No such file or directory",
        ]),
    Rule::new("dependency", Config, r"^\S*(?:ModuleNotFoundError|ImportError|PackageNotFoundError|DistributionNotFound|VersionConflict)\b")
        .says("A Python package is missing, or too old or too new for the code.")
        .advice(&[INSTALL, PIN_VERSIONS])
        .like(&[
            "ModuleNotFoundError: No module named 'deepspeed.accelerator'",
            "ImportError: cannot import name '_get_submodules_from_module' from 'transformers.modeling_utils' (/x/y.py)",
            "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
        ]),
    Rule::new("dependency", Config, r"(?i)cannot open shared object file|undefined symbol:|version `(?:GLIBC|GLIBCXX|CXXABI)\S*' not found|error while loading shared libraries|DLL load failed|requires .{0,60}(?:to be installed|library|package) but it (?:was|is) not|Please (?:run )?`?pip install|is not installed\b.{0,80}(?:install|pip|conda)|A module that was compiled using NumPy 1\.x|numpy\.dtype size changed|^\S*error: can't find crate|Failed to import transformers|operator \S+ does not exist|No such operator|Error building extension|Ninja is required|WinError 126|Error loading .{0,200}\.dll|You need to install|requires? Flash ?Attention|Dataset scripts are no longer supported|was removed in the NumPy|Unable to find javac|FlashAttention2? has been toggled on, but it cannot be used")
        .says("A library is missing, or was built for another version.")
        .advice(&[INSTALL, PIN_VERSIONS])
        .like(&[
            "OSError: libcublas.so.11: cannot open shared object file: No such file or directory",
            "python: error while loading shared libraries: libnccl.so.2: cannot open shared object file",
            "RuntimeError: Error building extension 'cpu_adam'",
            "NotImplementedError: Sharded Llama requires Flash Attention enabled models.",
            "RuntimeError: Dataset scripts are no longer supported, but found wiki.py",
        "RuntimeError: operator torchvision::nms does not exist",
        "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
        ]),
];

pub(super) const RULES: &[Rule] = &[
    Rule::new("remote_code", Config, r"contains custom code which must be executed|trust_remote_code=True` to allow")
        .says("The repository brings code of its own along, and running it was not allowed.")
        .advice(&[TRUST_CODE])
        .like(&["ValueError: The repository for a/b contains custom code which must be executed to correctly load the model."]),
    Rule::new("missing_file", Config, r"failed to open GGUF file|failed to load model from .*No such file")
        .alone()
        .says("The model's file does not exist or can not be opened.")
        .advice(&[CHECK_PATH])
        .like(&["gguf_init_from_file: failed to open GGUF file 'models/qwen.gguf'"]),
    Rule::new("unsupported_dtype", Config, r#"unsupported dtype \S+ for op|"\w+" not implemented for '\w+'|not implemented for 'Half'"#)
        .says("An operation does not exist for this number format on this device.")
        .advice(&[FULL_PRECISION])
        .like(&[
            "Error: unsupported dtype BF16 for op matmul",
            "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'",
        ]),
    Rule::new("bad_ids", Config, r"index out of range in self")
        .says("A token, label or position id lies outside of its table.")
        .advice(&[CHECK_IDS])
        .like(&["IndexError: index out of range in self"]),
    Rule::new("chat_template", Config, r"(?i)chat[_ ]template|apply_chat_template|TemplateError|TemplateSyntaxError|UndefinedError|System role not supported|Conversation roles must alternate|jinja2\.exceptions|Only user and assistant roles|minijinja")
        .says("The model's chat template refused the messages, or there is none.")
        .advice(&[CHAT_TEMPLATE])
        .like(&[
            "jinja2.exceptions.TemplateError: System role not supported",
            "jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant/user/assistant/...",
            "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed!",
        ]),
    Rule::new("bad_weights", Config, r"(?i)size mismatch for |Error\(s\) in loading state_dict|Missing key\(s\) in state_dict|Unexpected key\(s\) in state_dict|SafetensorError|safetensors_rust|HeaderTooLarge|HeaderTooSmall|MetadataIncompleteBuffer|InvalidHeaderDeserialization|Unable to load weights from|invalid load key|PytorchStreamReader|unpickling stack underflow|corrupted .{0,30}(?:checkpoint|file|weights)|is not a valid (?:checkpoint|GGML\w*|GGUF\w*)|bad magic|invalid magic|wrong number of tensors|tensor '\S+' (?:not found|data is not within)|missing tensor|cannot find tensor|failed to load model|error loading model|failed to read magic|Consistency check failed|unable to find tensor|weight is missing: |unknown model architecture|UnpicklingError|Weights only load failed|file is corrupted|were not initialized from the model checkpoint.{0,40}error")
        .alone()
        .says("The weights are incomplete, broken, or of another model or format.")
        .advice(&[DOWNLOAD_AGAIN, CHECK_MODEL, PIN_VERSIONS])
        .like(&[
            "RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM:",
            "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
            "ValueError: 208 is not a valid GGMLQuantizationType",
            "_pickle.UnpicklingError: invalid load key, 'v'.",
            "llama_model_load: error loading model: unknown model architecture: 'qwen3'",
            "cannot find tensor model.layers.0.self_attn.q_proj.weight",
        ]),
    Rule::new("unknown_architecture", Config, r"(?i)does not recognize this architecture|Unrecognized (?:configuration class|model|processing class)|Model architectures? .{0,80}(?:not supported|failed to be inspected)|unsupported (?:model )?(?:architecture|model type)|model type .{0,60}(?:not recognized|unknown|unsupported)|KeyError: '(?:qwen|llama|gemma|mistral|phi|deepseek|mixtral|falcon|opt|gpt)\w*'$|Transformers does not recognize|is not supported for now")
        .says("This version does not know the model's architecture.")
        .advice(&[PIN_VERSIONS, CHECK_MODEL])
        .like(&[
            "ValueError: The checkpoint you are trying to load has model type `qwen3` but Transformers does not recognize this architecture.",
            "ValueError: Unrecognized configuration class <class 'X'> for this kind of AutoModel: AutoModelForCausalLM.",
            "KeyError: 'qwen2'",
        ]),
    Rule::new("missing_model", Config, r"(?i)RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError|LocalEntryNotFoundError|is not a local folder and is not a valid model identifier|Repository Not Found|does not appear to have a file named|Can't load (?:the )?(?:model|tokenizer|config|feature extractor|image processor|configuration)|HFValidationError|Repo id must|no file named (?:pytorch_model|model|tf_model|config|adapter)|404.{0,40}(?:Client Error|Not Found)|status code:? 404\b|NotFoundError: Error code: 404|The model .{0,80} does not exist|DatasetNotFoundError|Couldn't find (?:a dataset|any data file|file)|offline mode is enabled|outgoing traffic has been disabled|Couldn't reach .{0,80}on the Hub|BuilderConfig .{0,80}not found|Unknown split")
        .says("The model or dataset, or a file of it, is not where it was looked for.")
        .advice(&[CHECK_MODEL, LOGIN, OFFLINE])
        .like(&[
            "OSError: Qwen/Qwen9 is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
            "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.",
            "OSError: Can't load tokenizer for 'x/y'. If you were trying to load it from 'https://huggingface.co/models'",
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/data/x/y'.",
            "datasets.exceptions.DatasetNotFoundError: Dataset 'x/y' doesn't exist on the Hub or cannot be accessed.",
        ]),
    Rule::new("context_length", Config, r"(?i)maximum (?:context|sequence|model) length|\b(?:prompt|input|sequence|request)\b.{0,60}(?:longer than|exceeds?|too long).{0,60}(?:context|max|length|limit|model)|context[_ ]length[_ ]exceeded|is greater than the maximum (?:length|context)|exceeds the model's|requested tokens .{0,30}exceed context window|max_model_len .{0,60}(?:greater|larger)|maximum allowed (?:length|tokens)|context window of|larger than the max_model_len")
        .says("A prompt is longer than the model's context.")
        .advice(&[FEWER_PASSAGES])
        .like(&[
            "openai.BadRequestError: Error code: 400 - {'error': {'message': \"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens\"}}",
            "ValueError: Requested tokens (5012) exceed context window of 4096",
            "ValueError: The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        ]),
    Rule::new("tokenizer", Config, r"(?i)pad(?:ding)?[_ ]token|Couldn't instantiate the backend tokenizer|tokenizer.{0,80}(?:not|cannot|can't|fail|error|invalid|missing|does not)|data did not match any variant of untagged enum|SentencePieceProcessor|could not parse ModelProto|sentencepiece.{0,60}(?:error|parse|not)|Unable to create tensor, you should probably activate truncation|tiktoken.{0,60}(?:error|convert)|TextEncodeInput must be|text input must be of type")
        .medium()
        .says("The tokenizer does not fit or can not be loaded.")
        .advice(&[CHECK_MODEL, PIN_VERSIONS])
        .like(&[
            "ValueError: Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token`",
            "Exception: data did not match any variant of untagged enum ModelWrapper at line 757443 column 3",
            "ValueError: Couldn't instantiate the backend tokenizer from one of:",
        ]),
    Rule::new("nan_loss", Unknown, r"(?i)\bloss\b.{0,40}\b(?:is |became |= ?|: ?)?(?:nan|inf)\b.{0,40}(?:stop|abort|exit|detected|terminat|encountered|!)|(?:nan|inf|non-finite)\b.{0,30}(?:loss|gradient|grad norm|logits).{0,40}(?:detected|encountered|found|stop|abort)|FloatingPointError|returned nan values in its|Loss is nan|probability tensor contains either `?inf`?, `?nan`?|Loss is (?:nan|inf)|Minimum loss scale reached|loss scale already at minimum|gradients? (?:contain|are|is) (?:nan|inf|non-?finite)|Current loss scale already at minimum|invalid multinomial distribution|logits contain NaN|NaN or Inf found")
        .alone()
        .says("The numbers became infinite or undefined (NaN).")
        .advice(&[LOWER_LR, FULL_PRECISION])
        .like(&[
            "Loss is nan, stopping training",
            "RuntimeError: probability tensor contains either `inf`, `nan` or element < 0",
            "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.",
            "RuntimeError: Function 'MmBackward0' returned nan values in its 0th output.",
        ]),
    Rule::new("shape_mismatch", Config, r"(?i)mat1 and mat2 shapes cannot be multiplied|size of tensor a \(\d+\) must match|shape mismatch|Target size .{0,60}must be the same as input size|shapes? .{0,80}(?:not aligned|cannot be|incompatible|mismatch)|Sizes of tensors must match|could not be broadcast|invalid for input of size|expected input\[|Expected .{0,40}(?:tensor|matrix|dim|input).{0,60}(?:but got|got)|stack expects each tensor to be equal size|Dimension out of range|inconsistent tensor size|must have the same (?:shape|dtype|size)|expected scalar type|The expanded size of the tensor|Expected input batch_size .{0,20} to match target batch_size|Tensors must have same number of dimensions|expected sequence of length|both arguments to matmul|setting an array element with a sequence|expected .{0,12}dtype .{0,40}(?:but|got)|unexpected shape|expected m1 and m2 to have the same dtype")
        .says("Tensors of shapes or types that do not fit met.")
        .advice(&[CHECK_DATA, CHECK_MODEL])
        .like(&[
            "ValueError: Target size (torch.Size([8])) must be the same as input size (torch.Size([8, 2]))",
            "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x768 and 1024x512)",
            "RuntimeError: The size of tensor a (512) must match the size of tensor b (513) at non-singleton dimension 1",
            "RuntimeError: expected m1 and m2 to have the same dtype, but got: float != c10::BFloat16",
            "shape mismatch in matmul, lhs: [1, 2], rhs: [3, 4]",
        ]),
    Rule::new("missing_file", Config, r"(?i)FileNotFoundError|NotADirectoryError|IsADirectoryError|No such file or directory|\[Errno 2\]|os error 2\b|(?:file|directory|path|checkpoint|folder)\b.{0,120}(?:does not exist|doesn't exist|not found|missing)|cannot find the (?:file|path)|NoSuchKey|Unable to open file|failed to open (?:file|GGUF)|Can't find (?:file|a valid checkpoint)")
        .says("A file or directory does not exist.")
        .advice(&[CHECK_PATH])
        .like(&[
            "FileNotFoundError: [Errno 2] No such file or directory: '/mnt/x/y.jpg'",
            "Error: No such file or directory (os error 2)",
            "ValueError: Checkpoint directory /ckpt/step_100 does not exist",
        ]),
    Rule::new("data_format", Config, r"(?i)JSONDecodeError|ParserError|ArrowInvalid|ArrowTypeError|ArrowNotImplementedError|DatasetGeneration(?:Cast)?Error|DataFilesNotFound|UnicodeDecodeError|BadZipFile|Error tokenizing data|CastError|UnidentifiedImageError|EmptyDataError|YAMLError|ScannerError|yaml\.(?:parser|scanner|constructor)\.|TomlDecodeError|invalid (?:JSON|YAML|TOML)|EOF while parsing|missing field `|unknown field `|duplicate field `|invalid type: |trailing characters|NonMatchingSplits|NonMatchingChecksum|expected .{0,40} at line \d+ column \d+|ReadError: not a gzip|expected value at line|DecompressionError|zlib\.error|EOFError: Ran out of input|pyarrow\.lib")
        .says("A file's content is not what the reader expects.")
        .advice(&[CHECK_DATA, CHECK_PATH])
        .like(&[
            "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
            "Error: missing field `models` at line 3 column 1",
            "yaml.scanner.ScannerError: mapping values are not allowed here",
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ]),
    Rule::new("arguments", Config, r"(?i)unrecognized arguments|the following arguments are required|argument .{0,60}: (?:invalid|expected|not allowed)|invalid choice|unexpected argument '|required arguments? w(?:as|ere) not provided|got an unexpected keyword argument|missing \d+ required (?:positional|keyword-only) argument|takes (?:from )?\d+ (?:to \d+ )?positional arguments? but|ArgumentError|ConfigurationError|ConfigAttributeError|ConfigKeyError|MissingMandatoryValue|MissingConfigException|ValidationError|ConfigCompositionException|OverrideParseException|Could not override|UnsupportedInterpolationType|Unknown argument|unknown option|Invalid value for|No such option|Missing option|HfArgumentParser|invalid (?:partition|account|qos)|Unable to allocate resources|Batch job submission failed|Job submit/allocate failed|Requested node configuration is not available|Unable to create step for job|argparse|Extra inputs are not permitted|Invalid `?(?:config|setting|parameter)")
        .says("An argument or a setting is missing, unknown, or of a value that is not allowed.")
        .advice(&[FIX_CONFIG])
        .like(&[
            "train.py: error: unrecognized arguments: --foo",
            "TypeError: __init__() got an unexpected keyword argument 'use_fast'",
            "TypeError: forward() missing 1 required positional argument: 'labels'",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            "salloc: error: Job submit/allocate failed: Requested time limit is invalid (missing or exceeds some limit)",
            "sbatch: error: Batch job submission failed|Job submit/allocate failed: Invalid account or account/partition combination specified",
        ]),
    Rule::new("bad_setting", Config, r"(?i)(?:^\S*(?:ValueError|AssertionError|RuntimeError|NotImplementedError|TypeError|Exception): .{0,120}(?:must be (?:divisible|positive|greater|less|one of|set|specified|a |an |in |between)|not divisible by|should be one of|is not supported|are not supported|not supported (?:with|for|by|yet)|unsupported (?:dtype|quantization|value|type|device)|is not a valid|is required|cannot be used (?:with|together)|not allowed|is not one of|unknown (?:dtype|option|device|backend|activation|optimizer|scheduler|config)|only supports?|requires? (?:the )?(?:`|--)))|Bfloat16 is only supported on GPUs|does not support (?:bf16|bfloat16|fp8|int8|LoRA)|Target modules .{0,80}not found in the base model|CUBLAS_WORKSPACE_CONFIG|train_batch_size is not equal to")
        .medium()
        .says("A setting has a value that this program or this device does not allow.")
        .advice(&[FIX_CONFIG])
        .like(&[
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5.",
            "AssertionError: hidden_size must be divisible by num_heads",
            "ValueError: Target modules {'q_proj'} not found in the base model. Please check the target modules and try again.",
        ]),
    Rule::new("file_exists", Unknown, r"(?i)FileExistsError|\[Errno 17\]|os error 17\b|Directory not empty|already exists and is not empty|Output directory .{0,100}already exists")
        .medium()
        .says("A file that was to be made is already there: a second process, or an earlier run.")
        .advice(&[CHECK_PATH])
        .like(&["FileExistsError: [Errno 17] File exists: '/share/.swanlab'"]),
    Rule::new("syntax_error", Unknown, r"^(?:SyntaxError|IndentationError|TabError)\b")
        .says("The Python source does not parse.")
        .advice(&[FIX_CODE])
        .like(&["IndentationError: unindent does not match any outer indentation level", "SyntaxError: invalid syntax"]),
];
